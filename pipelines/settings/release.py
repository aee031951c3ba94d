"""Section `release`: the remote that shares releases, and whether they have to be signed."""

from __future__ import annotations

from pydantic import model_validator

from pipelines.privacy.shown import credential
from pipelines.settings.document import Section, Text


class Release(Section):
    section = "release"
    remote: Text | None
    signed: bool

    @model_validator(mode="after")
    def remote_holds_no_secret(self) -> Release:
        if self.remote is not None and (what := credential(self.remote)):
            raise ValueError(
                f"remote contains {what}, which would be stored in every release; set a name from `git remote add`"
            )
        return self
