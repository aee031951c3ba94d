"""Judgements of candidates, entered in the ledger: by the gate, by what-if, and checked before a promotion.

A judgement is defined by its model, holdout, champion and policy. Equal ones are the same attempt, with the same
number and level, so that a repeated run gives the same verdict.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from models.gate.attempts import Place
from models.gate.continuity import Limits
from pipelines.artifacts import outputs, recipe, tables
from pipelines.gate import ledger as ledgers
from pipelines.gate import position, releases
from pipelines.gate import verdict as verdicts
from pipelines.gate.ledger import Judgement, Ledger, Lost
from pipelines.gate.position import History, Scope, Subject
from pipelines.registry import digests as registry_digests
from pipelines.registry import tags
from pipelines.runtime import console
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.evaluate import Evaluate
from pipelines.settings.gate import Gate
from pipelines.settings.release import Release
from pipelines.settings.train import Train
from pipelines.workspace import git

NO_GIT = "this folder is not inside a Git checkout: nothing was counted or recorded, and nothing can be promoted"
Record = Mapping[str, Any]
PathOf = Callable[[str, str], Path]  # (stage, name) to the verified file


def judge(params: Gate, saved: verdicts.Saved, champion: Record, path: PathOf) -> tuple[dict[str, Any], History]:
    """Return verdict.json at the level that this candidate has to meet, entered in the ledger, and earlier entries."""
    digests = registry_digests.digests()
    subject = subject_of(params, digests, champion)
    if not in_git():
        attempt = position.described(subject, None, Place(1, 0), (), (), [NO_GIT])
        return verdicts.record(params, saved, champion, attempt) | {"digests": digests}, History()
    scope, remote = releases.scope_now(digests["model"]), load(Release).remote
    record: dict[str, Any] | None = None
    split, window = split_of(path)
    with git.lock(ledgers.LOCK):
        notes = synchronized(remote)
        for _ in range(ledgers.TRIES):
            ledger = ledgers.read()
            where, epoch = position.placed(ledger, subject, scope, position.holdout_of(split, window))
            earlier, tried = position.history(ledger, subject, scope, epoch)
            attempt = position.described(subject, epoch, where, earlier, tried, notes + releases.completeness(ledger))
            if record is None or record["attempt"]["number"] != where.number or record["attempt"]["line"] != where.line:
                record = verdicts.record(params, saved, champion, attempt)
            record = record | {"attempt": attempt, "digests": digests}
            entry = entry_of("judgement", subject, scope, record, split, window)
            if (entered := known(ledger, entry)) is not None:  # with its original time: equal inputs give equal reports
                return record, History(earlier, tried, entered)
            ledgers.append(ledger, entry)
            if not notes:
                notes = synchronized(remote)  # another machine may have taken the number first
    raise ValueError(f"{ledgers.REF} changes faster than a candidate can be judged; run `dvc repro gate` again")


def confirm(verdict: Record, *, shared: bool = True) -> None:
    """Raise ValueError if the ledger lacks this verdict with its number and level.

    shared: include the entries of other machines; raises GitError if the remote cannot be reached.
    """
    params, attempt = load(Gate), verdict["attempt"]
    subject = subject_of(params, verdict["digests"], verdict["champion"])
    if attempt is None or attempt["judgement"] != subject.judgement:
        raise ValueError(f"{verdicts.PATH} has no reference to the ledger of judgements; {verdicts.AGAIN}")
    with git.lock(ledgers.LOCK):
        if shared and (remote := load(Release).remote) is not None:
            ledgers.synchronize(remote)
        ledger = ledgers.read()
    releases.completeness(ledger)
    entries = [entry for entry in position.judgements(ledger) if entry.judgement == subject.judgement]
    if not entries:
        raise ValueError(
            f"{ledgers.REF} has no entry of this judgement: the verdict was restored from DVC's cache, or its entry "
            f"was made on another machine and never published; {verdicts.AGAIN} to enter it"
        )
    first = entries[0]
    scope = Scope(first.artifact, first.environment, first.epoch)
    where, _ = position.placed(ledger, subject, scope, position.holdout_of(first.split, first.window))
    expected = position.described(subject, first.epoch, where, (), (), [])
    if differ := [name for name in ("epoch", "number", "line", "rule", "level") if attempt[name] != expected[name]]:
        told = ", ".join(f"{name} {attempt[name]} instead of {expected[name]}" for name in differ)
        raise ValueError(
            f"the verdict has another position in the ledger of judgements ({told}), since entries of other "
            f"machines precede it or it was altered; {verdicts.AGAIN}"
        )
    given = (attempt["number"], attempt["line"], attempt["level"], verdict["verdict"], verdict["digests"])
    if given not in [(e.number, e.line, e.level, e.verdict, e.digests) for e in entries]:
        raise ValueError(
            f"{ledgers.REF} has this judgement with the verdict {entries[-1].verdict} at level {entries[-1].level:g}, "
            f"not {verdict['verdict']} at {attempt['level']:g} with these data, settings and code; {verdicts.AGAIN}"
        )


def record_what_if(policy: Gate, given: Record, other: Record) -> None:
    """Enter a policy that was only tried on the judged candidate; counted separately, and once."""
    if not in_git():
        return
    subject, scope = (
        subject_of(policy, given["digests"], given["champion"]),
        releases.scope_now(given["digests"]["model"]),
    )
    where = Place(given["attempt"]["number"], given["attempt"]["line"])
    attempt = position.described(subject, given["attempt"]["epoch"], where, (), (), [])
    split, window = split_of(verdicts.verified)
    with git.lock(ledgers.LOCK):
        notes = synchronized(load(Release).remote)
        for _ in range(ledgers.TRIES):
            ledger = ledgers.read()
            entry = entry_of("what-if", subject, scope, {**other, "attempt": attempt}, split, window)
            if known(ledger, entry) is not None or ledgers.append(ledger, entry):
                break
        if not notes:
            notes = synchronized(load(Release).remote)
    for note in notes:
        print(f"longtail: warning: {note}", file=sys.stderr)


def begin_anew(reason: str) -> Lost:
    """Enter a person's statement that the earlier history is lost; raises ValueError if nothing is missing."""
    champion = load(Champion)
    if (missing := releases.missing_release(ledgers.read(), releases.recorded_releases())) is None:
        raise ValueError("the ledger of judgements has all known entries; there is nothing to begin anew")
    epoch = releases.epoch_of(tags.read(champion), None)
    entry = Lost(
        kind="lost", artifact=champion.name, environment=champion.environment, epoch=epoch,
        by=git.identity()[0], at=now(), run=os.environ.get(console.RUN), judgement=missing[1], reason=reason,
    )  # fmt: skip
    with git.lock(ledgers.LOCK):
        ledgers.append(ledgers.read(), entry)
    return entry


def subject_of(params: Gate, digests: Mapping[str, str], champion: Record) -> Subject:
    """Return the subject of the judgement; settings that cannot change a decision, and code, are not part of it."""
    registered, settings = load(Champion), params.model_dump(mode="json", exclude=set(Limits.__annotations__))
    policy = recipe.of_values({"gate": settings, "random": load(Evaluate).seed})
    names = ("model", "split", "tail")
    what = {name: digests[name] for name in names} | {"champion": champion["commit"], "policy": policy}
    what |= {"artifact": registered.name, "environment": registered.environment}
    alpha = round(1 - params.confidence, 12)
    return Subject(
        recipe.of_values(what), dict(digests), policy, champion["version"], alpha, params.attempts.rule,
        params.attempts.half,
    )  # fmt: skip


def in_git() -> bool:
    try:
        git.common_dir()
    except (git.GitError, FileNotFoundError):
        return False
    return True


def synchronized(remote: str | None) -> list[str]:
    """Merge the ledger and that of the remote; return a sentence for the report if that fails."""
    if remote is None:
        return []
    try:
        ledgers.synchronize(remote)
    except git.GitError as error:
        said = re.sub(r"//[^/@\s]*@", "//", " ".join(str(error).split()))[:200]  # without passwords of URLs
        return [f"release.remote {remote!r} could not be reached ({said}): judgements of other machines may be missing"]
    return []


def split_of(path: PathOf) -> tuple[dict[str, Any], list[str] | None]:
    """Return the split of the holdout, and the first and last time of its events in a split by time."""
    described = outputs.read_json(path("split", "holdout.json"))
    split = {name: described[name] for name in ("strategy", "seed", "test", "cold_items", "cutoffs")}
    if not described["cutoffs"]:
        return split, None
    import pyarrow.compute as pc  # takes a fifth of a second; only judging needs it

    last = pc.max(tables.read(path("split", "test.parquet"), ["timestamp"])["timestamp"]).as_py()
    return split, [described["cutoffs"][1], last.isoformat()]


def entry_of(
    kind: Literal["judgement", "what-if"], subject: Subject, scope: Scope, record: Record, split: dict[str, Any],
    window: list[str] | None,
) -> Judgement:  # fmt: skip
    """Return the entry of a present verdict, with the user who runs this."""
    attempt = record["attempt"]
    return Judgement(
        kind=kind, artifact=scope.artifact, environment=scope.environment, epoch=attempt["epoch"],
        judgement=subject.judgement, number=attempt["number"], line=attempt["line"], rule=attempt["rule"],
        level=attempt["level"], verdict=record["verdict"], champion=subject.champion, digests=dict(subject.digests),
        policy=subject.policy, split=split, window=window, settings=settings(), by=git.identity()[0], at=now(),
        run=os.environ.get(console.RUN),
    )  # fmt: skip


def settings() -> dict[str, Any]:
    """Return the settings of the model in params.yaml that distinguish candidates, in short."""
    train = load(Train).model_dump(mode="json")
    chosen = {"model": train["model"], "seed": train["seed"], "anchor": train["anchor"], **train[train["model"]]}
    return {name: value for name, value in chosen.items() if value is not None}


def known(ledger: Ledger, entry: Judgement) -> Judgement | None:
    """Return the entry of this judgement with this verdict, position, data, settings and code, if there is one."""
    names = ("kind", "judgement", "number", "line", "level", "verdict", "digests")
    same = (
        other
        for other in ledger.entries
        if isinstance(other, Judgement) and all(getattr(other, name) == getattr(entry, name) for name in names)
    )
    return next(same, None)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
