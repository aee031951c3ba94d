"""Writes data/champion: which version the candidate has to replace, and that version's model and items.

That is the version that serves now. Where the candidate itself serves, it is the champion that the candidate was
compared with when it was promoted, so that a repeated run compares with the same model and changes nothing.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

from pipelines import _artifacts as artifacts
from pipelines import _git, _registry, _version_files
from pipelines._params import Champion, Release, load
from pipelines._registry import Registry
from pipelines._stage import run, say, sentence

NONE = {
    "version": None, "commit": None, "model_sha256": None, "items_sha256": None, "tail_sha256": None,
    "holdout_sha256": None, "split": None,
}  # fmt: skip


def main() -> None:
    params = load(Champion)
    fetch_registry(params)
    with artifacts.stage("champion") as stage:
        candidate = artifacts.sha256(stage.input("train", "model.safetensors"))
        registry = _registry.read(params)
        champion = champion_of(registry, candidate)
        artifacts.write_json(stage.output("champion.json"), champion)
        if champion["version"]:
            for path in (_version_files.MODEL, _version_files.ITEMS):
                kept = _version_files.obtain(champion["version"], champion["commit"], path)
                shutil.copy(kept, stage.output(path.name))
    say("champion", champion["version"] or "none yet")


def champion_of(registry: Registry, candidate: str) -> dict[str, Any]:
    """champion.json of a candidate, given by the sha256 of its model."""
    serving = registry.serving
    if serving is None:
        return NONE
    record = _version_files.document(serving.name, serving.commit)
    if record["digests"]["model"] == candidate:
        compared: dict[str, Any] = _version_files.document(serving.name, serving.commit, _version_files.VERDICT)[
            "champion"
        ]
        return compared
    return {
        "version": serving.name,
        "commit": serving.commit,
        "model_sha256": record["digests"]["model"],
        "items_sha256": record["files"].get(_version_files.ITEMS.as_posix()),
        "tail_sha256": record["digests"]["tail"],
        "holdout_sha256": record["digests"]["split"],
        "split": record.get("split"),
    }


def fetch_registry(params: Champion) -> None:
    """Learn what other machines have promoted. Offline the run goes on: promote refuses where it was outdated."""
    remote = load(Release).remote
    if remote is None:
        return
    try:
        _registry.fetch(params, remote)
    except _git.GitError as error:
        print(f"champion: warning: {sentence(error)}; using the versions known here", file=sys.stderr)


if __name__ == "__main__":
    run(main, "champion")
