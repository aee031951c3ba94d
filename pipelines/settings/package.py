"""Section `package`: settings for building a Bento."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.settings.document import Section


class Package(Section):
    section = "package"
    ready_timeout: Annotated[int, Field(ge=1, le=3600)]
    encoder: Literal["half", "int8", "static"]
