"""Count of judgements of candidates: the level that the next one has to meet, and promote's checks of the ledger.

A judgement is defined by its model, holdout, champion and policy. Equal ones are the same attempt, with the same
number and level, so that a repeated run gives the same verdict.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from models.gate import attempts
from models.gate.attempts import Holdout, Place
from pipelines.artifacts import outputs, recipe, tables
from pipelines.gate import ledger as ledgers
from pipelines.gate import verdict as verdicts
from pipelines.gate.ledger import Judgement, Ledger, Lost
from pipelines.registry import digests as registry_digests
from pipelines.registry import tags, version_files
from pipelines.registry.tags import Registry
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.evaluate import Evaluate
from pipelines.settings.gate import Gate
from pipelines.settings.release import Release
from pipelines.settings.train import Train
from pipelines.workspace import git

RUN = "LONGTAIL_RUN"  # environment variable: the run of Airflow that a stage belongs to
NO_GIT = "this folder is not inside a Git checkout: nothing was counted or recorded, and nothing can be promoted"
Record = Mapping[str, Any]
PathOf = Callable[[str, str], Path]  # (stage, name) to the verified file


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


def judge(params: Gate, saved: verdicts.Saved, champion: Record, path: PathOf) -> tuple[dict[str, Any], History]:
    """Return verdict.json at the level that this candidate has to meet, entered in the ledger, and earlier entries."""
    digests = registry_digests.digests()
    subject = subject_of(params, digests, champion)
    if not in_git():
        attempt = described(subject, None, Place(1, 0), (), (), [NO_GIT])
        return verdicts.record(params, saved, champion, attempt) | {"digests": digests}, History()
    scope, remote = scope_now(digests["model"]), load(Release).remote
    record: dict[str, Any] | None = None
    split, window = split_of(path)
    with git.lock(ledgers.LOCK):
        notes = synchronized(remote)
        for _ in range(ledgers.TRIES):
            ledger = ledgers.read()
            where, epoch = placed(ledger, subject, scope, holdout_of(split, window))
            earlier, tried = history(ledger, subject, scope, epoch)
            attempt = described(subject, epoch, where, earlier, tried, notes + completeness(ledger))
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
    completeness(ledger)
    entries = [entry for entry in judgements(ledger) if entry.judgement == subject.judgement]
    if not entries:
        raise ValueError(
            f"{ledgers.REF} has no entry of this judgement: the verdict was restored from DVC's cache, or its entry "
            f"was made on another machine and never published; {verdicts.AGAIN} to enter it"
        )
    first = entries[0]
    scope = Scope(first.artifact, first.environment, first.epoch)
    where, _ = placed(ledger, subject, scope, holdout_of(first.split, first.window))
    expected = described(subject, first.epoch, where, (), (), [])
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
    subject, scope = subject_of(policy, given["digests"], given["champion"]), scope_now(given["digests"]["model"])
    where = Place(given["attempt"]["number"], given["attempt"]["line"])
    attempt = described(subject, given["attempt"]["epoch"], where, (), (), [])
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
    if (missing := missing_release(ledgers.read(), recorded_releases())) is None:
        raise ValueError("the ledger of judgements has all known entries; there is nothing to begin anew")
    epoch = epoch_of(tags.read(champion), None)
    entry = Lost(
        kind="lost", artifact=champion.name, environment=champion.environment, epoch=epoch,
        by=git.identity()[0], at=now(), run=os.environ.get(RUN), judgement=missing[1], reason=reason,
    )  # fmt: skip
    with git.lock(ledgers.LOCK):
        ledgers.append(ledgers.read(), entry)
    return entry


def subject_of(params: Gate, digests: Mapping[str, str], champion: Record) -> Subject:
    """Return the subject of the judgement; settings that cannot change a decision, and code, are not part of it."""
    registered, settings = load(Champion), params.model_dump(mode="json")
    policy = recipe.of_values({"gate": settings, "random": load(Evaluate).seed})
    names = ("model", "split", "tail")
    what = {name: digests[name] for name in names} | {"champion": champion["commit"], "policy": policy}
    what |= {"artifact": registered.name, "environment": registered.environment}
    alpha = round(1 - params.confidence, 12)
    return Subject(
        recipe.of_values(what), dict(digests), policy, champion["version"], alpha, params.attempts.rule,
        params.attempts.half,
    )  # fmt: skip


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


def completeness(ledger: Ledger) -> list[str]:
    """Return sentences about judgements that this ledger cannot have; raises ValueError if known ones are missing."""
    recorded = recorded_releases()
    if (missing := missing_release(ledger, recorded)) is not None:
        raise ValueError(
            f"{ledgers.REF} has no entry of the judgement that promoted {missing[0]}, so its history is missing here "
            f"and the number of uses of this holdout is unknown; {ledgers.REMEDY}, or, if it is lost for good, run "
            '`longtail attempts --begin-anew "why"`'
        )
    notes = []
    if old := [name for name, judgement in recorded.items() if judgement is None]:
        notes.append(f"releases up to {old[-1]} are older than the ledger: judgements of that time were not recorded")
    if lost := [entry for entry in ledger.entries if isinstance(entry, Lost)]:
        notes.append(f"the history before {lost[-1].at[:10]} is lost, as {lost[-1].by} entered: {lost[-1].reason}")
    return notes + elsewhere()


def elsewhere() -> list[str]:
    """Return a sentence if a clone has no release.remote, so that it misses the judgements of its origin."""
    remotes = git.git("remote").split()
    if not remotes or load(Release).remote is not None:
        return []
    kind = "shallow clone" if git.git("rev-parse", "--is-shallow-repository") == "true" else "checkout"
    return [
        f"this {kind} has the Git remote {remotes[0]!r}, but release.remote is null: judgements made there do not count"
    ]


def recorded_releases() -> dict[str, str | None]:
    """Return the judgement that promoted each version, in ascending order; None if it is older than the ledger."""
    attempts_of = {
        name: document.get("attempt")
        for name, document in release_files(tags.read(load(Champion)), version_files.VERDICT).items()
    }
    return {name: None if attempt is None else attempt["judgement"] for name, attempt in attempts_of.items()}


def missing_release(ledger: Ledger, recorded: Mapping[str, str | None]) -> tuple[str, str] | None:
    """Return the newest release with an entry in the ledger of its time, and that entry, if this ledger lacks it."""
    known = {entry.judgement for entry in ledger.entries}
    found = next(((name, key) for name, key in reversed(list(recorded.items())) if key is not None), None)
    return None if found is None or found[1] in known else found


def scope_now(model: str) -> Scope:
    """Return the scope of judgements that count together with one of a present model."""
    champion = load(Champion)
    return Scope(champion.name, champion.environment, epoch_of(tags.read(champion), model))


def epoch_of(registry: Registry, model: str | None) -> str | None:
    """Return the last version that first put a new model into service; None if there is none.

    Neither a rollback nor a repeated promotion of a rolled back model begins an epoch: they must not reset the levels.
    The version of the judged model itself does not count, as it is judged again against the one before it.
    """
    documents = release_files(registry, version_files.RECORD)
    seen, epoch = {model}, None
    for assignment in registry.assignments:
        if assignment.version in documents:
            found = documents[assignment.version]["digests"]["model"]
            epoch = epoch if found in seen else assignment.version
            seen.add(found)
    return epoch


def release_files(registry: Registry, path: str) -> dict[str, Any]:
    """Read a JSON file of all release commits that have it, by version."""
    contents = git.read_files([f"{version.commit}:{path}" for version in registry.versions.values()])
    found = zip(registry.versions, contents, strict=True)
    return {name: json.loads(content) for name, content in found if content is not None}


def split_of(path: PathOf) -> tuple[dict[str, Any], list[str] | None]:
    """Return the split of the holdout, and the first and last time of its events in a split by time."""
    described = outputs.read_json(path("split", "holdout.json"))
    split = {name: described[name] for name in ("strategy", "seed", "test", "cold_items", "cutoffs")}
    if not described["cutoffs"]:
        return split, None
    import pyarrow.compute as pc  # takes a fifth of a second; only judging needs it

    last = pc.max(tables.read(path("split", "test.parquet"), ["timestamp"])["timestamp"]).as_py()
    return split, [described["cutoffs"][1], last.isoformat()]


def holdout_of(split: Mapping[str, Any], window: Sequence[str] | None) -> Holdout:
    if window is None:
        return Holdout(f"{split['strategy']} {split['seed']}")
    start, end = (datetime.fromisoformat(moment).timestamp() for moment in window)
    return Holdout(str(split["strategy"]), (start, end))


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
        run=os.environ.get(RUN),
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
