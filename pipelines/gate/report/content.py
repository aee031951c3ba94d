"""Content of both reports: the verdict, and everything that explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.gate.report.attempts import Section
from pipelines.gate.report.data import Data
from pipelines.gate.report.example_users import Example

Record = Mapping[str, Any]
Changes = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Content:
    """Contents of report.html and report.md."""

    verdict: Record
    judged_at: str | None  # ISO time of the entry in the ledger; None outside a Git checkout
    models: Mapping[str, Mapping[str, float]]
    holdout: Record
    data: Data
    curves: Mapping[str, Mapping[str, Sequence[str]]]  # tables of the charts and slices, by file
    examples: Sequence[Example]
    changes: Changes | None  # since the champion, by subject; None without a champion
    attempts: Section
