"""Section `embed`: the encoder and its columns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.settings.document import Count, Device, Section, Strict, Text


class Reduce(Strict):
    method: Literal["pca", "whiten"]
    dimensions: Annotated[int, Field(ge=1)]


class Embed(Section):
    section = "embed"
    model: Text
    revision: Text | None
    columns: Annotated[dict[Text, Annotated[float, Field(gt=0, le=1000)]], Field(min_length=1)]
    images: dict[Text, Text]
    prompt: str | None
    max_length: Annotated[int, Field(ge=1, le=8192)]
    dimensions: Annotated[int, Field(ge=1)] | None
    reduce: Reduce | None
    precision: Literal["auto", "fp32", "bf16"]
    batch_tokens: Count
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None
    cache_gigabytes: Annotated[float, Field(gt=0)]
    device: Device
