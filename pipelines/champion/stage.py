"""Writes data/champion: the version that the candidate has to replace, with its model and items.

That is the version in service. If the candidate itself serves, it is the champion that the candidate was compared with
at its promotion, so that a repeated run compares with the same model and changes nothing.

Rules may also compare with the `best` of the releases that led to the champion, so that a series of them, each slightly
worse than the one before, cannot erode quality. It is chosen by the comparisons in earlier verdicts; it is evaluated
again like the champion, so that a wrong choice among nearly equal releases costs little.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts import best_releases, outputs
from pipelines.champion import seen_pairs
from pipelines.registry import champion as champions
from pipelines.registry import tags, version_files
from pipelines.runtime.console import say, sentence
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.release import Release
from pipelines.workspace import git

FILES = (version_files.MODEL, version_files.ITEMS)  # required for a comparison


def main() -> None:
    params = load(Champion)
    fetch_registry(params)
    with outputs.stage("champion") as stage:
        candidate = outputs.sha256(stage.input("train", "model.safetensors"))
        registry = tags.read(params)
        champion = champions.champion_of(registry, candidate)
        if champion["version"]:
            copy(obtain(champion), stage, prefix="")
        compared: dict[str, Mapping[str, Any]] = {"": champion} if champion["version"] else {}
        absent = {}
        for release in best_releases.others(champion).values():
            prefix = best_releases.prefix(release)
            try:
                copy(obtain(release), stage, prefix=prefix)
                compared[prefix] = release
            except (FileNotFoundError, ValueError) as error:  # its rules are inconclusive, others are unaffected
                absent[release["version"]] = str(error)
        found = {"absent": absent, "seen": seen_pairs.counted(stage, compared)}
        outputs.write_json(stage.output("champion.json"), champion | found)
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


def fetch_registry(params: Champion) -> None:
    """Fetch the promotions of other machines. Offline the run continues: promote refuses if the result is outdated."""
    remote = load(Release).remote
    if remote is None:
        return
    try:
        tags.fetch(params, remote)
    except git.GitError as error:
        print(f"champion: warning: {sentence(error)}; using the versions known here", file=sys.stderr)
