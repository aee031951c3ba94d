"""Settings and code of a stage, as listed in dvc.yaml: its manifest records them beside the inputs.

DVC writes such a record into dvc.lock too, but after the stage has run, and only if DVC ran it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipelines.settings import document

GRAPH = Path("dvc.yaml")
OUTPUTS = "data/"  # folder of the stages' outputs
CHECKING = ("gate", "package")  # the stages that check all stages before them
UNJUDGED = ("engine", "release", "airflow")  # settings that do not change the results of a stage
Recipe = dict[str, dict[str, str]]  # `settings`: sha256 by section; `code`: sha256 by path


def stages() -> dict[str, Any]:
    """Return the stages of dvc.yaml in running order."""
    if not GRAPH.is_file():
        raise FileNotFoundError(
            f"{GRAPH} is missing, which lists the inputs of each stage; run inside the checkout, or restore it with "
            f"`git checkout {GRAPH}`"
        )
    return parsed(GRAPH.read_text("utf-8"))


@cache
def parsed(text: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(text)["stages"]
    return found


def of(stage: str) -> Recipe:
    """Return the recipe of a stage from the present params.yaml and files; empty if dvc.yaml has no such stage.

    Empty too for a stage that always runs: it reads the state of the registry, and promote reads it again.
    """
    described = stages().get(stage) if GRAPH.is_file() else None
    if described is None or described.get("always_changed"):
        return {}
    return {"settings": settings(described), "code": code(described)}


def settings(described: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of the values of every section of the stage; comments and order do not count."""
    sections = [name for name in described.get("params", []) if isinstance(name, str) and name not in UNJUDGED]
    values = document.document(document.FILE)
    return {name: of_values(values[name]) for name in sections if name in values}


def code(described: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of every file of code that dvc.yaml lists for the stage."""
    return {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files(code_of(described))}


def code_of(described: Mapping[str, Any]) -> list[str]:
    """Return the files and folders of code that dvc.yaml lists for the stage."""
    return [dep for dep in described.get("deps", []) if not dep.startswith((OUTPUTS, "${"))]


def files(listed: Sequence[str]) -> Iterator[Path]:
    for path in map(Path, listed):
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in found if file.is_file() and not any(map(is_leftover, file.parts)))


def is_leftover(part: str) -> bool:
    """Return whether a folder or file is a temporary one of Python or an editor."""
    return part == "__pycache__" or part.startswith(".")


def read_by(described: Mapping[str, Any]) -> list[Path]:
    """Return the files and folders of other stages that a stage reads."""
    return [Path(dep) for dep in described.get("deps", []) if dep.startswith(OUTPUTS)]


def of_values(values: Any) -> str:
    """Return the sha256 of plain values."""
    # `default`, since YAML has dates; no section accepts one, but the digest has to cover it
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def before(stage: str, stages: Mapping[str, Any]) -> list[str]:
    """Return the stages that a stage depends on, in running order."""
    found: set[str] = set()
    queue = [stage]
    while queue:
        read = {path.parts[1] for path in read_by(stages[queue.pop()])} & stages.keys()
        queue += read - found
        found |= read
    return [name for name in stages if name in found]


def since(stage: str) -> list[str]:
    """Return a stage and all that depend on it, in running order."""
    described = stages()
    return [name for name in described if name == stage or stage in before(name, described)]
