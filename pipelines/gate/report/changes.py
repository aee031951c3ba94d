"""Section on what changed since the champion: model, data, split, settings and code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.privacy.markdown import plain

Record = Mapping[str, Any]
Changes = Mapping[str, Sequence[str]]
SHORT = 12  # characters of a digest
FIRST = "Nothing serves yet that the candidate could replace."
LISTED = "code"  # its files are listed in a line


def lines(changes: Changes | None, verdict: Record) -> dict[str, list[str]]:
    """Return the lines of each subject, [] if nothing changed; empty without a champion."""
    if changes is None:
        return {}
    return {"model": model(verdict), **{about: shown(about, found) for about, found in changes.items()}}


def shown(about: str, found: Sequence[str]) -> list[str]:
    return [", ".join(found)] if about == LISTED and found else list(found)


def model(verdict: Record) -> list[str]:
    """Return the digests before and now, if they differ."""
    before, now = verdict["champion"].get("model_sha256"), verdict["digests"]["model"]
    return [] if before == now else [f"{(before or 'unknown')[:SHORT]} → {now[:SHORT]}"]


def markdown(changes: Changes | None, verdict: Record) -> list[str]:
    found = lines(changes, verdict)
    rows = [f"- {about}: {plain('; '.join(each)) or 'as it was'}" for about, each in found.items()]
    return ["## What changed since the champion", "", *(rows or [f"- {FIRST}"]), ""]
