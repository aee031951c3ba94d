"""What `longtail serve` remembers of an address between starts, in .longtail/serving."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.artifacts import outputs
from pipelines.workspace import git


@dataclass(frozen=True)
class Memory:
    version: str | None = None  # that served last
    tag: str | None = None
    refused: int | None = None  # number of the assignment that failed its smoke test ...
    reason: str | None = None  # ... and why


def path(port: int) -> Path:
    return git.state_folder() / "serving" / f"{port}.json"


def feedback_url() -> str:
    """Where this checkout keeps feedback events, unless LONGTAIL_FEEDBACK_DB says otherwise."""
    return f"sqlite:///{(git.state_folder() / 'feedback.sqlite').absolute()}"


def read(port: int) -> Memory:
    """Nothing where there is no memory, or none that can be read."""
    try:
        return Memory(**json.loads(path(port).read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return Memory()


def write(port: int, memory: Memory) -> None:
    with outputs.written(path(port)) as partial:
        partial.write_text(json.dumps(asdict(memory)), "utf-8")
