"""Describe request bodies and answers for the OpenAPI document, with models in place of schemas."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

RETRY = {"Retry-After": {"required": True, "schema": {"type": "integer"}, "description": "seconds"}}  # a header


class Error(BaseModel):
    """An answer with a status of 400 or more."""

    error: Annotated[str, Field(description="the problem in a sentence")]
    detail: Annotated[
        list[dict[str, Any]] | SkipJsonSchema[None], Field(description="the invalid fields of the body")
    ] = None


def taking(model: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a request body, in which the OpenAPI document replaces the model by its schema."""
    return {"required": True, "content": content(model)}


def answering(
    description: str, model: type[BaseModel] | None = None, example: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the description of an answer in JSON: of an error if no model is given."""
    return {"description": description, "content": content(model or Error, example)}


def content(model: type[BaseModel], example: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"application/json": {"schema": model} | ({} if example is None else {"example": example})}
