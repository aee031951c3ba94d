"""`.longtail/partitions/<key>/`: the checked rows of a file of events, so that no file is read twice.

The key covers the bytes of the file, and the settings and code that checked its rows, so the result of ingest is the
same with and without partitions. A damaged partition is removed and its file is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import pipelines
from pipelines.artifacts import outputs, recipe, tables
from pipelines.ingest.formats.format import numbered
from pipelines.runtime.engine import Embedded, Tables
from pipelines.workspace import git

CODE = (  # files of the checkout that decide the result for a row
    "models/inference/event_bounds.py",
    "pipelines/artifacts/tables.py",
    "pipelines/ingest/canonical",
    "pipelines/ingest/formats",
    "pipelines/privacy/shown.py",
    "pipelines/runtime/engine.py",
    "pipelines/runtime/spark.py",
)
CHECKOUT = Path(pipelines.__file__).parents[1]
KEPT_FOR = 7 * 86400.0  # seconds after its last use


class Partition:
    """Checked rows of one file: rows.parquet in the file's order, broken.parquet, lines.parquet and account.json."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account: dict[str, Any] = outputs.read_json(folder / "account.json")

    @property
    def rows(self) -> Path:
        return self.folder / "rows.parquet"

    def broken(self) -> pa.Table:
        """Return the broken records: line, reason, detail, raw."""
        return tables.read(self.folder / "broken.parquet")

    def relation(self, engine: Tables) -> str:
        """Return SQL of the rows with their number from 1 as `seq`; without that column, in file order."""
        has_numbers = "seq" in pq.read_schema(self.rows).names
        return engine.parquet(self.rows) if has_numbers else engine.numbered(self.rows, "seq")

    def numbered(self, con: duckdb.DuckDBPyConnection) -> str:
        """Return SQL of the rows with `line` instead of `seq`."""
        return self.with_lines(con, self.relation(Embedded(con)))

    def with_lines(self, con: duckdb.DuckDBPyConnection, relation: str) -> str:
        """Return SQL of a relation of some of its rows with `line` instead of `seq`."""
        return numbered(con, relation, tables.read(self.folder / "lines.parquet"), "shifts_of_partition")


def root() -> Path:
    return git.state_folder() / "partitions"


def key(digest: str, settings: Any) -> str:
    """Return the name of the partition of a file with this sha256, checked with these settings."""
    code = [outputs.sha256(path) for path in recipe.files([str(CHECKOUT / name) for name in CODE])]
    text = json.dumps([digest, settings, code, duckdb.__version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def find(name: str) -> Iterator[Partition]:
    """Yield the complete, undamaged partitions of this name; they differ in the catalogue of their check."""
    for folder in sorted(root().glob(f"{name}-*")):
        partition = opened(folder)
        if partition is not None:
            yield partition


def opened(folder: Path) -> Partition | None:
    """Return the partition in a folder; a damaged one is removed."""
    try:
        for file in outputs.read_manifest(folder)["files"]:
            outputs.verify(folder / file)
    except (FileNotFoundError, ValueError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    os.utime(folder)
    return Partition(folder)


def publish(partial: Path, name: str, inputs: dict[str, str]) -> Partition:
    """Move a folder with a partition's files to a new folder: a concurrent run may be reading the others."""
    outputs.write_manifest(partial, stage="ingest", inputs=inputs)
    folder = root() / f"{name}-{uuid4().hex[:8]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(folder)
    outputs.sync(folder.parent)
    return Partition(folder)


def prune(used: Iterable[Partition]) -> None:
    """Remove partitions that have not been used for a week."""
    names = {partition.folder.name for partition in used}
    for folder in root().glob("*"):
        if folder.name not in names and time.time() - folder.stat().st_mtime > KEPT_FOR:
            shutil.rmtree(folder, ignore_errors=True)
