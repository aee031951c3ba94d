"""Section `ingest`: the source of rows and its format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.privacy.shown import credential
from pipelines.settings.document import Count, Memory, Section, Seed, Share, Strict, Text


class Demo(Strict):
    users: Annotated[int, Field(ge=10)]
    items: Annotated[int, Field(ge=20)]
    events: Annotated[int, Field(ge=100)]
    new_items: Annotated[int, Field(ge=0)]
    dirty_rows: Annotated[int, Field(ge=0)]
    seed: Seed


class MovieLens(Strict):
    min_rating: float
    tags: bool


class TableColumns(Strict):
    user_id: Text
    item_id: Text
    value: Text | None
    timestamp: Text | None


class UserColumns(Strict):
    user_id: Text


class ItemColumns(Strict):
    item_id: Text
    title: Text


class Table(Strict):
    interactions: Annotated[list[Text], Field(min_length=1)]
    delimiter: Annotated[str, Field(min_length=1, max_length=4)]
    quote: Annotated[str, Field(min_length=1, max_length=1)] | None
    columns: TableColumns
    min_value: float | None
    timestamp_unit: Literal["s", "ms", "us", "iso"]
    users: list[Text]
    user_columns: UserColumns
    items: list[Text]
    item_columns: ItemColumns
    text: Text


class Abuse(Strict):
    max_per_day: Count | None
    max_per_minute: Count | None
    min_entropy: Annotated[float, Field(gt=0)] | None
    entropy_from: Annotated[int, Field(ge=2)]


class Ingest(Section):
    section = "ingest"
    source: Literal["demo", "movielens", "table"]
    path: Text
    url: Annotated[str, Field(pattern="^https?://")] | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    duplicates: Literal["last", "max", "sum"]
    max_rejected: Share
    expected_rows: Count | None
    until: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")] | None
    memory_limit: Memory
    pseudonyms: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None
    abuse: Abuse
    demo: Demo
    movielens: MovieLens
    table: Table

    @model_validator(mode="after")
    def url_holds_no_secret(self) -> Ingest:
        if self.url is not None and (what := credential(self.url)):
            raise ValueError(
                f"url contains {what}, which would be stored in dvc.lock and every release; put user and password into "
                "~/.netrc, or a token into an environment variable and ?token=${NAME} into the address"
            )
        return self
