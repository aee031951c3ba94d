"""Version that a candidate has to replace, and the best of the releases that led to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML

from models.gate import chained_index
from pipelines.registry import release_path, version_files
from pipelines.registry.tags import Registry
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.gate import Gate
from pipelines.workspace import git

NONE: dict[str, Any] = {
    "version": None, "commit": None, "model_sha256": None, "items_sha256": None, "tail_sha256": None,
    "holdout_sha256": None, "split": None, "sizes": None, "source": None, "released": None,
    "best": {}, "absent": {}, "seen": {},
}  # fmt: skip


def champion_of(registry: Registry, candidate: str) -> dict[str, Any]:
    """Return champion.json of a candidate, given by the sha256 of its model."""
    serving = registry.serving
    if serving is None:
        return NONE
    record = version_files.document(serving.name, serving.commit)
    if record["digests"]["model"] != candidate:
        found = identity(serving.name, serving.commit, record)
        return NONE | found | {"best": best_of(registry, serving.name, serving.commit)}
    verdict = version_files.document(serving.name, serving.commit, version_files.VERDICT)
    compared: dict[str, Any] = NONE | verdict["champion"] | {"released": exemptions(verdict)}
    if compared["version"] is None:
        return compared
    best = best_of(registry, compared["version"], compared["commit"])  # also by figures that had no rule then
    then = {figure: release for figure, release in compared.get("best", {}).items() if figure in best}
    return compared | {"best": best | then}


def exemptions(verdict: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings that a version was released with for once and that are back by now; None without such.

    They still hold for that version: a repeated run does not judge it otherwise than its release.
    """
    now, version = load(Gate), verdict["champion"]["version"]
    found = {}
    if verdict.get("seen_holdout") == "skip" and now.seen_holdout != "skip":
        found["seen_holdout"] = "skip"
    if any(change["accepted"] for change in verdict.get("changes", ())) and now.accept_shrink != version:
        found["accept_shrink"] = version
    return found or None


def identity(version: str, commit: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": version,
        "commit": commit,
        "model_sha256": record["digests"]["model"],
        "items_sha256": record["files"].get(version_files.ITEMS.as_posix()),
        "tail_sha256": record["digests"]["tail"],
        "holdout_sha256": record["digests"]["split"],
        "split": record.get("split"),
        "sizes": record.get("sizes"),
        "source": record["source"] if "source" in record else configured_source(commit),
    }


def configured_source(commit: str) -> str | None:
    """Return the source in the settings of an early release, whose record lacks it; None if they lack it as well."""
    found: str | None = (
        (YAML(typ="safe").load(git.read_file(commit, "params.yaml")) or {}).get("ingest", {}).get("source")
    )
    return found


def best_of(registry: Registry, version: str, commit: str) -> dict[str, Any]:
    """Return the best of a release and those that led to it, for every figure that a rule compares with the best one.

    `since`: the release at which the chain of comparisons begins.
    """
    figures = [rule.of() for rule in load(Gate).rules if rule.reference == "best"]
    if not figures:
        return {}
    baseline = load(Champion).baseline
    since = registry.version(baseline).major if baseline else 0
    steps = list(release_path.read(registry, version, commit, since=since))
    return {figure: best_by(figure, steps, registry, since) for figure in dict.fromkeys(figures)}


def best_by(figure: str, steps: Sequence[release_path.Step], registry: Registry, since: int) -> dict[str, Any]:
    """Return the best release; steps: newest first. A release not compared with the last begins a new chain."""
    links, better = [], True
    for step in steps[:-1]:
        found = release_path.link(step.verdict, figure)
        if found is None:
            break
        links.append(found[0])
        better = found[1]
    chain = steps[: len(links) + 1]
    left = registry.rolled_back
    eligible = [s.major >= since and s.version in registry.versions and s.version not in left for s in chain]
    best = chain[chained_index.best(chained_index.levels(links, higher_is_better=better), eligible)]
    return identity(best.version, best.commit, best.record) | {"since": chain[-1].version}
