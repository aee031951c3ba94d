"""The engines of the stages' SQL: DuckDB within memory bounds, and the interface of other engines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from pipelines.artifacts.outputs import StageRun
from pipelines.runtime import cores
from pipelines.runtime import spark as runtime_spark
from pipelines.runtime.sql import literal
from pipelines.settings.engine import Engine

THREADS = 8  # at most: further ones need memory, and gain little
MACROS = r"""
    create macro instant_of(s) as epoch_us(try_cast(s as timestamptz));
    create macro words_of(s) as regexp_replace(replace(lower(s), 'ς', 'σ'), '[^\p{L}\p{N}]+', '', 'g');
    create macro is_foreign(s) as regexp_matches(s, '[^\p{Latin}\P{L}]')
"""  # functions that differ between engines: microseconds of a text; its letters and digits; has it non-Latin letters?
NO_ROOM = re.compile("max_temp_directory_size|No space left|File too large|quota", re.IGNORECASE)


class Tables(Protocol):
    """Interface of an engine that runs SQL over parquet files; queries refer to other queries as views."""

    def parquet(self, path: Path) -> str: ...
    def numbered(self, path: Path, column: str) -> str: ...
    def after(self, path: Path, *columns: str) -> str: ...
    def view(self, name: str, query: str) -> None: ...
    def keep(self, name: str, query: str) -> None: ...
    def rows(self, query: str) -> list[tuple[Any, ...]]: ...
    def table(self, query: str) -> pa.Table: ...
    def batches(self, query: str, size: int) -> Iterator[pa.RecordBatch]: ...


class Embedded:
    """Engine on a DuckDB connection."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con

    def parquet(self, path: Path) -> str:
        """Return SQL of the rows of a file."""
        return f"read_parquet({literal(path)})"

    def numbered(self, path: Path, column: str) -> str:
        """Return SQL of the rows of a file with their number, from 1."""
        scan = f"read_parquet({literal(path)}, file_row_number = true)"
        return f"(select file_row_number + 1 as {column}, * exclude (file_row_number) from {scan})"

    def after(self, path: Path, *columns: str) -> str:
        """Return SQL of the rows of a file, with the previous row's values of some columns as `<column>_before`."""
        before = ", ".join(f"lag({column}) over () as {column}_before" for column in columns)
        return f"(select *, {before} from {self.parquet(path)})"

    def view(self, name: str, query: str) -> None:
        self.con.execute(f"create or replace view {name} as {query}")

    def keep(self, name: str, query: str) -> None:
        """Create a view with rows that are computed once."""
        self.con.execute(f"create or replace table {name} as {query}")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.con.sql(query).fetchall()

    def table(self, query: str) -> pa.Table:
        """Return the rows of a query; they must fit into memory."""
        table: pa.Table = self.con.sql(query).to_arrow_table()
        return table

    def batches(self, query: str, size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, in bounded memory."""
        yield from self.con.sql(query).to_arrow_reader(size)


@contextmanager
def tables(stage: StageRun, memory_limit: str, engine: Engine) -> Iterator[Tables]:
    """Yield the engine set in params.yaml."""
    if engine.name == "spark":
        with runtime_spark.connect(stage, memory_limit, engine) as spark:
            yield spark
        return
    with connect(stage, memory_limit) as con:
        yield Embedded(con)


@contextmanager
def connect(stage: StageRun, memory_limit: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an in-memory database that spills to the stage's folder; raises ValueError if memory or disk is too small.

    In memory, since a database file takes three times as long, for compression.
    """
    with TemporaryDirectory(dir=stage.folder, prefix=".spill-") as spill, duckdb.connect() as con:
        con.execute(f"{settings(Path(spill), memory_limit)}; {MACROS}")
        with naming_shortages(stage, memory_limit):
            yield con


@contextmanager
def naming_shortages(stage: StageRun, memory_limit: str) -> Iterator[None]:
    """Raise ValueError with a remedy if memory or disk is too small."""
    try:
        yield
    except duckdb.OperationalError as error:
        if problem := shortage(str(error), stage.folder, f"{stage.name}.memory_limit", memory_limit):
            raise ValueError(problem) from error
        raise


def settings(spill: Path, memory_limit: str) -> str:
    """Return the statements that set up a connection; all of them are global to the database."""
    return f"""set global memory_limit = '{memory_limit}'; set global threads = {min(THREADS, cores.threads())};
               set global temp_directory = {literal(spill)}; set global TimeZone = 'UTC'"""


def shortage(message: str, folder: Path, key: str, memory_limit: str) -> str | None:
    """Return the exhausted resource and a remedy, or None if the message is about something else."""
    first = message.strip().splitlines()[0]
    if NO_ROOM.search(message):
        return (
            f"the disk of {folder} is full, where data that exceed the memory are stored ({first}); "
            f"make room on that disk, or raise {key}, which is {memory_limit}"
        )
    if "Out of Memory" in message:
        return f"{key} is {memory_limit}, which is not enough for this data ({first}); raise it"
    return None
