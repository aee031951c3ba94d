"""DuckDB as the stages use it: bounded memory, spilling beside the output, and one clear line where either runs out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from pipelines._artifacts import StageRun

THREADS = min(8, os.cpu_count() or 1)
NO_ROOM = re.compile("max_temp_directory_size|No space left|File too large|quota", re.IGNORECASE)


@contextmanager
def connect(stage: StageRun, memory_limit: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that spills into the stage's folder; ValueError where memory or disk is not enough.

    In memory, since a database file spends three times as long on compression.
    """
    with TemporaryDirectory(dir=stage.folder, prefix=".spill-") as spill, duckdb.connect() as con:
        con.execute(settings(Path(spill), memory_limit))
        try:
            yield con
        except duckdb.OperationalError as error:
            if problem := shortage(str(error), stage.folder, f"{stage.name}.memory_limit", memory_limit):
                raise ValueError(problem) from error
            raise


def settings(spill: Path, memory_limit: str) -> str:
    """Statements that set a connection up; all of them hold for the whole database."""
    folder = str(spill).replace("'", "''")
    return f"""set global memory_limit = '{memory_limit}'; set global threads = {THREADS};
               set global temp_directory = '{folder}'; set global TimeZone = 'UTC'"""


def shortage(message: str, folder: Path, key: str, memory_limit: str) -> str | None:
    """What ran out and what to do, or None where the message is about something else."""
    first = message.strip().splitlines()[0]
    if NO_ROOM.search(message):
        return (
            f"no room is left in {folder} for what does not fit into memory ({first}); "
            f"make room on that disk, or raise {key}, which is {memory_limit}"
        )
    if "Out of Memory" in message:
        return f"{key} is {memory_limit}, which is not enough for this data ({first}); raise it"
    return None
