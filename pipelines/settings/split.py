"""Section `split`: the held out interactions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.settings.document import Memory, Section, Seed


class Split(Section):
    section = "split"
    strategy: Literal["auto", "time", "hash"]
    valid: Annotated[float, Field(gt=0, lt=0.5)]
    test: Annotated[float, Field(gt=0, lt=0.5)]
    cold_items: Annotated[float, Field(ge=0, lt=0.5)]
    head: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed
    memory_limit: Memory
