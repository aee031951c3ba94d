"""Settings and code that a stage runs with, as dvc.yaml lists them: its manifest records them beside the inputs.

DVC writes such a record into dvc.lock too, but after the stage has run, and only where DVC ran it.
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
OUTPUTS = "data/"  # where the stages write
CHECKING = ("gate", "package")  # the stages that check all stages before them
UNJUDGED = ("engine", "release", "airflow")  # settings that change nothing of what a stage computes
Recipe = dict[str, dict[str, str]]  # `settings`: sha256 by section; `code`: sha256 by path


def stages() -> dict[str, Any]:
    """The stages of dvc.yaml in running order."""
    if not GRAPH.is_file():
        raise FileNotFoundError(
            f"{GRAPH} is missing, which says what a stage is made from; run inside the checkout, or restore it with "
            f"`git checkout {GRAPH}`"
        )
    return parsed(GRAPH.read_text("utf-8"))


@cache
def parsed(text: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(text)["stages"]
    return found


def of(stage: str) -> Recipe:
    """The recipe of a stage as params.yaml and its files are now; empty where dvc.yaml has no such stage.

    Empty too for a stage that always runs: it looks at the world, and promote looks again.
    """
    described = stages().get(stage) if GRAPH.is_file() else None
    if described is None or described.get("always_changed"):
        return {}
    return {"settings": settings(described), "code": code(described)}


def settings(described: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of the values of every section that the stage reads, so that neither comments nor the order count."""
    sections = [name for name in described.get("params", []) if isinstance(name, str) and name not in UNJUDGED]
    values = document.document(document.FILE)
    return {name: of_values(values[name]) for name in sections if name in values}


def code(described: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of every file of code that dvc.yaml lists for the stage."""
    return {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files(code_of(described))}


def code_of(described: Mapping[str, Any]) -> list[str]:
    """Files and folders of code that dvc.yaml lists for the stage."""
    return [dep for dep in described.get("deps", []) if not dep.startswith((OUTPUTS, "${"))]


def files(listed: Sequence[str]) -> Iterator[Path]:
    for path in map(Path, listed):
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in found if file.is_file() and not any(map(is_leftover, file.parts)))


def is_leftover(part: str) -> bool:
    """Whether a folder or file is Python's or an editor's."""
    return part == "__pycache__" or part.startswith(".")


def read_by(described: Mapping[str, Any]) -> list[Path]:
    """Files and folders of other stages that a stage reads."""
    return [Path(dep) for dep in described.get("deps", []) if dep.startswith(OUTPUTS)]


def of_values(values: Any) -> str:
    """sha256 of plain values."""
    # `default`, since YAML knows dates; no section takes one, but a digest can tell that it is there
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def before(stage: str, stages: Mapping[str, Any]) -> list[str]:
    """The stages that a stage rests on, in running order."""
    found: set[str] = set()
    queue = [stage]
    while queue:
        read = {path.parts[1] for path in read_by(stages[queue.pop()])} & stages.keys()
        queue += read - found
        found |= read
    return [name for name in stages if name in found]


def since(stage: str) -> list[str]:
    """A stage and all that rest on it, in running order."""
    described = stages()
    return [name for name in described if name == stage or stage in before(name, described)]
