"""Section `evaluate`: list lengths, baselines and slices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.settings.document import Count, Device, Section, Seed, Strict, Text


class Slices(Strict):
    users: list[Text]
    items: list[Text]
    small: Count


class Evaluate(Section):
    section = "evaluate"
    k: Annotated[list[Annotated[int, Field(ge=1, le=1000)]], Field(min_length=1)]
    references: list[Literal["popularity", "random", "content"]]
    slices: Slices
    batch_users: Count
    seed: Seed
    device: Device

    @model_validator(mode="after")
    def ascending(self) -> Evaluate:
        if self.k != sorted(set(self.k)):
            raise ValueError(f"k is {self.k}, expected list lengths in ascending order, each once")
        return self
