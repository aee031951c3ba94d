"""The OpenAPI document: BentoML's, and what it does not know of: the guard's answers, the key, routes of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bento.hot import ENDPOINTS

if TYPE_CHECKING:
    from bento.recommender import Recommender

ERROR = {
    "type": "object",
    "title": "Error",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "detail": {"type": "array", "items": {"type": "object"}}},
}
REFUSALS = {
    400: "The request is malformed, or asks for what this model cannot do",
    401: "The API key is missing or wrong",
    404: "The model does not know an item or user, which is named",
    405: "The endpoint takes POST",
    408: "The request took too long to arrive",
    413: "The body is longer than 1 MiB",
    415: "The body is not JSON",
    503: "Too many requests at a time; Retry-After says when to try again",
}


def document(service: Recommender, paths: Iterable[dict[str, Any]]) -> bytes:
    """The document of a running service; paths: what other modules add."""
    spec: dict[str, Any] = service.bento_service.openapi_spec.asdict()  # type: ignore[attr-defined]
    spec["openapi"] = "3.1.0"  # whose schemas are the JSON Schema that pydantic writes; BentoML says 3.0
    spec["components"]["schemas"]["Error"] = ERROR
    spec["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    spec["security"] = [{}, {"key": []}]
    refusals = {
        str(status): {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status, text in REFUSALS.items()
    }
    for name, endpoint in ENDPOINTS.items():
        operation = spec["paths"][f"/{name}"]["post"]
        operation["requestBody"]["content"]["application/json"]["example"] = endpoint.example
        operation["responses"] = {"200": operation["responses"].get(200) or operation["responses"]["200"], **refusals}
    for each in paths:
        spec["paths"] |= each
    return json.dumps(spec, ensure_ascii=False).encode()
