"""`.longtail/first_read/<sha256>`: the time when ingest first read a file; later events of it lie in the future.

With the clock alone, the result for a file would change from day to day. The time is kept once a run has succeeded, so
that every later run here gives the same tables; `ingest.until` makes them independent of the machine as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pipelines.artifacts import outputs
from pipelines.workspace import git


def folder() -> Path:
    return git.state_folder() / "first_read"


def moment(digest: str) -> datetime:
    """Return the time, in whole seconds, when a file with this sha256 was first read: now if no run has succeeded."""
    try:
        return datetime.fromisoformat((folder() / digest).read_text("ascii").strip())
    except (FileNotFoundError, ValueError):  # ValueError: a crash interrupted the write
        return datetime.fromtimestamp(int(time.time()), UTC)


def keep(moments: Iterable[tuple[str, datetime]]) -> None:
    """Store the times of files, by sha256, unless an earlier run has stored them."""
    for digest, read in moments:
        if not (path := folder() / digest).is_file():
            with outputs.written(path) as partial:
                partial.write_text(read.isoformat() + "\n", "ascii")
