"""Releases beside the ledger: the epochs that they begin, and the entries of theirs that a ledger must have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.gate import ledger as ledgers
from pipelines.gate.ledger import Ledger, Lost
from pipelines.gate.position import Scope
from pipelines.registry import tags, version_files
from pipelines.registry.tags import Registry
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.release import Release
from pipelines.workspace import git


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
