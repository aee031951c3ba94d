"""The OpenAPI document: every address with its request bodies, answers and errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bento.api.endpoints import ENDPOINTS
from bento.api.schemas import RETRY, Readiness, answering, taking

if TYPE_CHECKING:
    from bento.model.recommender import Recommender

Mode = Literal["validation", "serialization"]
MODES: dict[str, Mode] = {"requestBody": "validation", "responses": "serialization"}
REFUSALS = {
    "400": answering("The request is malformed, or this model cannot answer it"),
    "401": answering("The API key is missing or wrong")
    | {"headers": {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}},
    "405": answering("The address does not accept this method")
    | {"headers": {"Allow": {"required": True, "schema": {"type": "string"}}}},
    "408": answering("The request took too long to arrive"),
    "413": answering("The body is longer than 1 MiB"),
    "421": answering("The service does not answer to this Host; LONGTAIL_HOSTS lists further hosts"),
    "500": answering("The answer failed; the server's log has the reason"),
    "503": answering("Too many concurrent requests, or no answer in time") | {"headers": RETRY},
}
REFUSALS_OF_WRITES = {
    "403": answering("A page of another site sent the request; LONGTAIL_CORS_ORIGINS lists the sites that may"),
    "415": answering("The Content-Type is not application/json"),
}
UNKNOWN = {"404": answering("An item or user is unknown to the model; the error names it")}
PROBES = {
    "/livez": "Liveness: the process answers.",
    "/healthz": "Readiness, at an older address.",
}


READY = {  # the first answers 503 while the server drains, the second also while feedback is down
    "/readyz": "Readiness to recommend; the body reports if feedback works.",
    "/readyz/feedback": "Readiness to recommend and to store feedback events.",
}


def document(service: Recommender, paths: Iterable[dict[str, Any]]) -> bytes:
    """Return the document of a running service; paths: those of other modules, with models in place of schemas."""
    found: dict[str, Any] = {f"/{name}": {"post": operation(service, name)} for name in ENDPOINTS}
    for each in paths:
        found |= each
    for at in found.values():
        for method, described in at.items():
            refusals = REFUSALS | REFUSALS_OF_WRITES if method == "post" else REFUSALS
            at[method] = described | {"responses": dict(sorted((refusals | described["responses"]).items()))}
    found |= {path: readiness(text) for path, text in READY.items()}
    used = {(model, mode) for model, mode in models(found)}
    references, schemas = models_json_schema(
        sorted(used, key=lambda each: (each[0].__name__, each[1])), ref_template="#/components/schemas/{model}"
    )
    spec = {
        "openapi": "3.1.0",
        "info": {"title": "Longtail", "version": service.tag, "description": card(service)},
        "security": [{}, {"key": []}],
        "paths": {**put(found, references), **{path: probe(text) for path, text in PROBES.items()}},
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
    return json.dumps(spec, ensure_ascii=False).encode()


def operation(service: Recommender, name: str) -> dict[str, Any]:
    endpoint = ENDPOINTS[name]
    body = {} if endpoint.takes is None else {"requestBody": taking(endpoint.takes, endpoint.example)}
    summary = service.bento_service.apis[name].doc  # type: ignore[attr-defined]
    return {"summary": summary, **body, "responses": {"200": answering("The answer", endpoint.answers), **UNKNOWN}}


def probe(summary: str) -> dict[str, Any]:
    answers = {"200": "yes", "503": "not now"}
    of_text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    responses = {status: {"description": text, **of_text} for status, text in answers.items()}
    return {"get": {"summary": summary, "security": [], "responses": responses}}


def readiness(summary: str) -> dict[str, Any]:
    responses = {"200": answering("Ready", Readiness), "503": answering("Not ready", Readiness)}
    return {"get": {"summary": summary, "security": [], "responses": responses}}


def card(service: Recommender) -> str:
    """Return the model card without its front matter; empty if the service does not run from a Bento."""
    text = str(service.bento_service.openapi_spec.asdict()["info"].get("description") or "")  # type: ignore[attr-defined]
    return text.split("\n---\n", 1)[-1].strip() if text.startswith("---\n") else text


def models(node: Any, mode: Mode = "serialization") -> Iterator[tuple[type[BaseModel], Mode]]:
    """Yield the models that stand in for schemas, each with its mode: of requests or of answers."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from models(value, MODES.get(key, mode))
    elif isinstance(node, list):
        for value in node:
            yield from models(value, mode)
    elif isinstance(node, type):
        yield node, mode


def put(node: Any, references: Any, mode: Mode = "serialization") -> Any:
    """Return a description in which references to schemas replace the models."""
    if isinstance(node, dict):
        return {key: put(value, references, MODES.get(key, mode)) for key, value in node.items()}
    if isinstance(node, list):
        return [put(value, references, mode) for value in node]
    return references[node, mode] if isinstance(node, type) else node
