"""`.longtail/first_read/<sha256>`: when ingest first read a file, beyond which its events lie in the future.

The clock alone would judge the same file differently from day to day. The moment is kept once a run has succeeded, so
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
    """When a file with this sha256 was first read, in whole seconds: now, where no run that read it has succeeded."""
    try:
        return datetime.fromisoformat((folder() / digest).read_text("ascii").strip())
    except (FileNotFoundError, ValueError):  # ValueError: a write that a crash cut short
        return datetime.fromtimestamp(int(time.time()), UTC)


def keep(moments: Iterable[tuple[str, datetime]]) -> None:
    """Remember the moments of files, by sha256, unless an earlier run has."""
    for digest, read in moments:
        if not (path := folder() / digest).is_file():
            with outputs.written(path) as partial:
                partial.write_text(read.isoformat() + "\n", "ascii")
