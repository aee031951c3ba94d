"""Memory of `longtail serve` between starts, one file per port, in .longtail/serving."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.artifacts import outputs
from pipelines.workspace import git


@dataclass(frozen=True)
class Memory:
    version: str | None = None  # the last one in service
    tag: str | None = None
    refused: int | None = None  # number of an assignment with a failed smoke test ...
    reason: str | None = None  # ... and the reason


def path(port: int) -> Path:
    return git.state_folder() / "serving" / f"{port}.json"


def feedback_url() -> str:
    """Return the URL of this checkout's feedback store, used unless LONGTAIL_FEEDBACK_DB is set."""
    return f"sqlite:///{(git.state_folder() / 'feedback.sqlite').absolute()}"


def read(port: int) -> Memory:
    """Read the memory of a port; empty if it is missing or unreadable."""
    try:
        return Memory(**json.loads(path(port).read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return Memory()


def write(port: int, memory: Memory) -> None:
    with outputs.written(path(port)) as partial:
        partial.write_text(json.dumps(asdict(memory)), "utf-8")
