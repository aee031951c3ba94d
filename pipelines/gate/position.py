"""Position of a judgement in the ledger: its epoch, its number on its holdout, and the level that follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.gate import attempts
from models.gate.attempts import Holdout, Place
from pipelines.gate.ledger import Judgement, Ledger, Lost


@dataclass(frozen=True)
class Subject:
    """Subject of a judgement, in the terms of the ledger."""

    judgement: str
    digests: Mapping[str, str]
    policy: str
    champion: str | None
    alpha: float
    rule: str
    half: int


@dataclass(frozen=True)
class Scope:
    """Scope of the count from the registry: the judgements that count together, and their epoch."""

    artifact: str
    environment: str
    epoch: str | None


@dataclass(frozen=True)
class History:
    """Entries for the report: candidates judged earlier in the epoch, tried policies, this judgement."""

    earlier: tuple[Judgement, ...] = ()
    tried: tuple[Judgement, ...] = ()
    mine: Judgement | None = None


def placed(ledger: Ledger, subject: Subject, scope: Scope, holdout: Holdout) -> tuple[Place, str | None]:
    """Return position and epoch of a judgement: those of its first entry in the ledger, else the next ones."""
    earlier, epoch = before(ledger, subject, scope)
    lost = sum(isinstance(entry, Lost) and entry.epoch == epoch and within(entry, scope) for entry in ledger.entries)
    known = [holdout_of(entry.split, entry.window) for entry in earlier]
    return attempts.place(holdout, known, assumed=lost * subject.half), epoch


def before(ledger: Ledger, subject: Subject, scope: Scope) -> tuple[list[Judgement], str | None]:
    """Return the candidates judged before in the same epoch, an entry each, and that epoch."""
    first: dict[str, Judgement] = {}
    for entry in judgements(ledger):
        if within(entry, scope):
            first.setdefault(entry.judgement, entry)
    epoch = first[subject.judgement].epoch if subject.judgement in first else scope.epoch
    earlier: list[Judgement] = []
    for key, entry in first.items():
        if key == subject.judgement:
            break
        if entry.epoch == epoch:
            earlier.append(entry)
    return earlier, epoch


def history(
    ledger: Ledger, subject: Subject, scope: Scope, epoch: str | None
) -> tuple[tuple[Judgement, ...], tuple[Judgement, ...]]:
    """Return candidates judged before in the epoch, with their latest verdict, and policies that were only tried."""
    latest = {entry.judgement: entry for entry in judgements(ledger)}
    tried = {entry.judgement: entry for entry in judgements(ledger, "what-if")}
    return (
        tuple(latest[entry.judgement] for entry in before(ledger, subject, scope)[0]),
        tuple(entry for entry in tried.values() if within(entry, scope) and entry.epoch == epoch),
    )


def judgements(ledger: Ledger, kind: str = "judgement") -> Iterator[Judgement]:
    return (entry for entry in ledger.entries if isinstance(entry, Judgement) and entry.kind == kind)


def within(entry: Judgement | Lost, scope: Scope) -> bool:
    return (entry.artifact, entry.environment) == (scope.artifact, scope.environment)


def holdout_of(split: Mapping[str, Any], window: Sequence[str] | None) -> Holdout:
    if window is None:
        return Holdout(f"{split['strategy']} {split['seed']}")
    start, end = (datetime.fromisoformat(moment).timestamp() for moment in window)
    return Holdout(str(split["strategy"]), (start, end))


def described(
    subject: Subject, epoch: str | None, where: Place, earlier: Sequence[Judgement], tried: Sequence[Judgement],
    notes: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Return the part of verdict.json about attempts."""
    spent = attempts.level(where, alpha=subject.alpha, half=subject.half) if subject.rule == "spend" else subject.alpha
    verdicts = [entry.verdict for entry in earlier]
    return {
        "judgement": subject.judgement,
        "epoch": epoch,
        "number": where.number,
        "line": where.line,
        "rule": subject.rule,
        "level": spent,
        "earlier": {verdict: verdicts.count(verdict) for verdict in ("PROMOTE", "HOLD", "REJECT")},
        "by": sorted({entry.by for entry in earlier}),
        "what_if": len(tried),
        "notes": list(notes),
    }
