"""Releases that led to one of them: each was compared with the one before it, its champion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.gate.chained_index import Link
from models.gate.rule import figure
from pipelines.registry import version_files
from pipelines.registry.tags import Registry

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """A release and its verdict."""

    version: str
    commit: str
    record: Record  # release.json
    verdict: Record

    @property
    def major(self) -> int:
        return int(self.version[1:].split(".")[0])


def read(registry: Registry, version: str, commit: str, *, since: int = 0) -> Iterator[Step]:
    """Return the release and those before it, newest first, back to the first one or to the major version `since`.

    The commit of each is taken from the verdict of the next, so that moved or deleted tags do not change the path. It
    ends early if a version was deregistered and its commit is not in this clone.
    """
    name, at = version, commit
    while True:
        try:
            record = version_files.document(name, at)
            verdict = version_files.carried(name, at, version_files.VERDICT)
        except ValueError:
            if name in registry.versions:
                raise
            return
        step = Step(name, at, record, verdict)
        yield step
        champion = verdict["champion"]
        if champion["version"] is None or step.major <= since:
            return
        name, at = champion["version"], champion["commit"]


def link(verdict: Record, name: str) -> tuple[Link, bool] | None:
    """Return a figure of a release and its champion, and whether higher is better; None if no rule compared them."""
    for rule in verdict["rules"]:
        values = rule["value"], rule["reference_value"]
        if rule["reference"] == "champion" and figure(rule["metric"], rule["slice"]) == name and None not in values:
            return Link(*values), rule["better"] == "higher"
    return None
