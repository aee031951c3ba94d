"""Bentos of this project on this machine: archives of versions, and BentoML's store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipelines.bentos import store
from pipelines.registry import tags, version_files
from pipelines.registry.tags import Version
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import git


@dataclass(frozen=True)
class StoredBento:
    """An archive, or a folder of the store."""

    name: str  # for messages
    path: Path
    serves: bool  # True for the promoted one


def stored() -> Iterator[StoredBento]:
    champion = load(Champion)
    serving = tags.read(champion).serving
    for path in sorted((git.state_folder() / "releases").glob("*/longtail.*")):
        version = path.parent.name
        yield StoredBento(f"version {version}", path, serving is not None and version == serving.name)
    tag = version_files.document(serving.name, serving.commit, version_files.BENTO)["tag"] if serving else None
    for path in sorted(path for path in (store.user_home() / "bentos" / champion.name).glob("*") if path.is_dir()):
        name = f"{champion.name}:{path.name}"
        yield StoredBento(f"Bento {name} in BentoML's store", path, name == tag)


def serving_version() -> Version | None:
    return tags.read(load(Champion)).serving


def output_of(version: Version) -> str | None:
    """Return DVC's object id of the package stage's output at a version; None if its commit has no such stage."""
    with suppress(git.GitError, KeyError, IndexError):
        lock: dict[str, Any] = YAML(typ="safe").load(git.read_file(version.commit, "dvc.lock"))
        return str(lock["stages"]["package"]["outs"][0]["md5"])
    return None
