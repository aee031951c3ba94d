"""The OpenAPI document: every address with its request bodies, answers, errors, and examples from this model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bento.api.descriptions import answering, taking
from bento.api.endpoints import ENDPOINTS
from bento.api.examples import Examples
from bento.api.introduction import TAGS, introduction, tag_of
from bento.api.refusals import REFUSALS, REFUSALS_OF_WRITES, UNKNOWN
from bento.api.schemas import Readiness

if TYPE_CHECKING:
    from bento.model.recommender import Recommender

Mode = Literal["validation", "serialization"]
MODES: dict[str, Mode] = {"requestBody": "validation", "responses": "serialization"}
PROBES = {
    "/livez": "Liveness: the process answers.",
    "/healthz": "Readiness, at an older address.",
}
READY = {  # the first answers 503 while the server drains, the second also while feedback is down
    "/readyz": "Readiness to recommend; the body reports if feedback works.",
    "/readyz/feedback": "Readiness to recommend and to store feedback events.",
}


def document(service: Recommender, paths: Iterable[dict[str, Any]], examples: Examples) -> bytes:
    """Return the document of a running service; paths: those of other modules, with models in place of schemas."""
    found: dict[str, Any] = {f"/{name}": {"post": operation(service, name)} for name in ENDPOINTS}
    for each in paths:
        found |= each
    for at in found.values():
        for method, described in at.items():
            refusals = REFUSALS | REFUSALS_OF_WRITES if method == "post" else REFUSALS
            at[method] = described | {"responses": dict(sorted((refusals | described["responses"]).items()))}
    found |= {path: readiness(text, service.tag) for path, text in READY.items()}
    used = {(model, mode) for model, mode in models(found)}
    references, schemas = models_json_schema(
        sorted(used, key=lambda each: (each[0].__name__, each[1])), ref_template="#/components/schemas/{model}"
    )
    put_in = {**put(found, references), **{path: probe(text) for path, text in PROBES.items()}}
    spec = {
        "openapi": "3.1.0",
        "info": {
            "title": "Longtail API",
            "version": f"{service.version} ({service.tag})" if service.version else service.tag,
            "description": introduction(examples),
        },
        "security": [{}, {"key": []}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": {path: {m: named(path, d, examples) for m, d in at.items()} for path, at in put_in.items()},
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "LONGTAIL_API_KEY"}},
        },
    }
    return json.dumps(spec, ensure_ascii=False).encode()


def operation(service: Recommender, name: str) -> dict[str, Any]:
    endpoint = ENDPOINTS[name]
    body = {} if endpoint.takes is None else {"requestBody": taking(endpoint.takes)}
    summary = service.bento_service.apis[name].doc  # type: ignore[attr-defined]
    return {"summary": summary, **body, "responses": {"200": answering("The answer", endpoint.answers), **UNKNOWN}}


def named(path: str, described: dict[str, Any], examples: Examples) -> dict[str, Any]:
    """Return an operation with its tag, its id, and examples of its request and answer."""
    name = path.strip("/")
    more: dict[str, Any] = {"tags": [tag_of(path)], "operationId": name.replace("/", "_")}
    if bodies := examples.bodies.get(name):
        ((kind, body),) = described["requestBody"]["content"].items()
        titled = {title: {"summary": title, "value": value} for title, value in bodies.items()}
        more["requestBody"] = described["requestBody"] | {"content": {kind: body | {"examples": titled}}}
    if queries := examples.queries.get(name):
        more["parameters"] = [each | {"example": queries[each["name"]]} for each in described["parameters"]]
    if name in examples.answers:
        answer = described["responses"]["200"]
        ((kind, body),) = answer["content"].items()
        content = {"content": {kind: body | {"example": examples.answers[name]}}}
        more["responses"] = described["responses"] | {"200": answer | content}
    return described | more


def probe(summary: str) -> dict[str, Any]:
    answers = {"200": "yes", "503": "not now"}
    of_text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    responses = {status: {"description": text, **of_text} for status, text in answers.items()}
    return {"get": {"summary": summary, "security": [], "responses": responses}}


def readiness(summary: str, tag: str) -> dict[str, Any]:
    ready, drains = ({"status": status, "feedback": "ok", "model": tag} for status in ("ready", "draining"))
    responses = {"200": answering("Ready", Readiness, ready), "503": answering("Not ready", Readiness, drains)}
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
