"""Section `engine`: the engine for the SQL of the first stages."""

from __future__ import annotations

from typing import Literal

from pipelines.settings.document import Section, Text


class Engine(Section):
    section = "engine"
    name: Literal["duckdb", "spark"]
    master: Text
    settings: dict[str, str]
