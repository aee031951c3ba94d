"""Section `champion`: name and environment of the versions in service, and the start of their history."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.settings.document import Section


class Champion(Section):
    section = "champion"
    name: Annotated[str, Field(pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    environment: Annotated[str, Field(pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    baseline: Annotated[str, Field(pattern=r"^v[0-9]+\.[0-9]+\.[0-9]+$")] | None
