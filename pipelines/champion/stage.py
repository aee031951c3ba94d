"""Writes data/champion: which version the candidate has to replace, and that version's model and items.

That is the version that serves now. Where the candidate itself serves, it is the champion that the candidate was
compared with when it was promoted, so that a repeated run compares with the same model and changes nothing.

Rules may also compare with the `best` of the releases that led to the champion, so that a series of them, each slightly
worse than the one before, cannot wear a model down. Verdicts tell which one that is; it is evaluated anew like the
champion, so that a wrong choice among nearly equal releases costs little.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.gate import chained_index
from pipelines.artifacts import best_releases, outputs
from pipelines.registry import release_path, tags, version_files
from pipelines.registry.tags import Registry
from pipelines.runtime.console import say, sentence
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.gate import Gate
from pipelines.settings.release import Release
from pipelines.workspace import git

NONE: dict[str, Any] = {
    "version": None, "commit": None, "model_sha256": None, "items_sha256": None, "tail_sha256": None,
    "holdout_sha256": None, "split": None, "best": {}, "absent": {},
}  # fmt: skip
FILES = (version_files.MODEL, version_files.ITEMS)  # what a version is compared by


def main() -> None:
    params = load(Champion)
    fetch_registry(params)
    with outputs.stage("champion") as stage:
        candidate = outputs.sha256(stage.input("train", "model.safetensors"))
        registry = tags.read(params)
        champion = champion_of(registry, candidate)
        if champion["version"]:
            copy(obtain(champion), stage, prefix="")
        absent = {}
        for release in best_releases.others(champion).values():
            try:
                copy(obtain(release), stage, prefix=best_releases.prefix(release))
            except (FileNotFoundError, ValueError) as error:  # its rules are inconclusive, others need not wait for it
                absent[release["version"]] = str(error)
        outputs.write_json(stage.output("champion.json"), champion | {"absent": absent})
    say("champion", champion["version"] or "none yet")
    if champion["best"]:
        say("champion", f"best release: {best_releases.words(champion)}")
    for why in absent.values():
        say("champion", f"warning: {why}")


def obtain(release: Mapping[str, Any]) -> list[Path]:
    return [version_files.obtain(release["version"], release["commit"], path) for path in FILES]


def copy(kept: Iterable[Path], stage: outputs.StageRun, *, prefix: str) -> None:
    for path in kept:
        shutil.copy(path, stage.output(prefix + path.name))


def champion_of(registry: Registry, candidate: str) -> dict[str, Any]:
    """champion.json of a candidate, given by the sha256 of its model."""
    serving = registry.serving
    if serving is None:
        return NONE
    record = version_files.document(serving.name, serving.commit)
    if record["digests"]["model"] != candidate:
        found = identity(serving.name, serving.commit, record)
        return found | {"best": best_of(registry, serving.name, serving.commit), "absent": {}}
    compared: dict[str, Any] = version_files.document(serving.name, serving.commit, version_files.VERDICT)["champion"]
    if compared["version"] is None:
        return NONE | compared
    best = best_of(registry, compared["version"], compared["commit"])  # also by figures that no rule named then
    then = {figure: release for figure, release in compared.get("best", {}).items() if figure in best}
    return {"absent": {}} | compared | {"best": best | then}


def identity(version: str, commit: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": version,
        "commit": commit,
        "model_sha256": record["digests"]["model"],
        "items_sha256": record["files"].get(version_files.ITEMS.as_posix()),
        "tail_sha256": record["digests"]["tail"],
        "holdout_sha256": record["digests"]["split"],
        "split": record.get("split"),
    }


def best_of(registry: Registry, version: str, commit: str) -> dict[str, Any]:
    """The best of a release and those that led to it, for every figure that a rule compares with the best one.

    `since` is the release at which the chain of comparisons begins.
    """
    figures = [rule.of() for rule in load(Gate).rules if rule.reference == "best"]
    if not figures:
        return {}
    baseline = load(Champion).baseline
    since = registry.version(baseline).major if baseline else 0
    steps = list(release_path.read(registry, version, commit, since=since))
    return {figure: best_by(figure, steps, registry, since) for figure in dict.fromkeys(figures)}


def best_by(figure: str, steps: Sequence[release_path.Step], registry: Registry, since: int) -> dict[str, Any]:
    """steps: newest first. A release that was not compared with the one before it begins a new chain."""
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


def fetch_registry(params: Champion) -> None:
    """Learn what other machines have promoted. Offline the run goes on: promote refuses where it was outdated."""
    remote = load(Release).remote
    if remote is None:
        return
    try:
        tags.fetch(params, remote)
    except git.GitError as error:
        print(f"champion: warning: {sentence(error)}; using the versions known here", file=sys.stderr)
