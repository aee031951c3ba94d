"""Apache Spark as an engine of the stages: it runs the same SQL text as DuckDB, on any number of machines.

Executors need access to the project's folder (a shared file system, or one machine).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts.outputs import StageRun
from pipelines.settings.engine import Engine

SETTINGS = {  # so that the SQL text means the same as in DuckDB
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.parser.escapedStringLiterals": "true",  # a backslash is a backslash
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",  # a zoned one would be converted to this machine's zone in Python
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.filterPushdown": "false",  # statistics ignore NaN, so a NaN would pass every range
    "spark.sql.inMemoryColumnarStorage.partitionPruning": "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",  # Spark's default of 200 is for as many cores
}
FUNCTIONS = (  # functions and macros of DuckDB, under their names there
    r"regexp_full_match(s string, p string) returns boolean return s rlike concat('\A(?:', p, ')\z')",
    "regexp_matches(s string, p string) returns boolean return s rlike p",
    "instant_of(s string) returns bigint return unix_micros(try_cast(s as timestamp_ltz))",
    r"words_of(s string) returns string return regexp_replace(replace(lower(s), 'ς', 'σ'), '[^\p{L}\p{N}]+', '')",
    r"is_foreign(s string) returns boolean return s rlike '[^\p{IsLatin}\P{L}]'",
)
GLOB = re.compile(r"([\\\[\]{}*?])")


class Spark:
    """Engine on a Spark session; large results are read through parquet files in `spill`, in order."""

    def __init__(self, session: Any, spill: Path) -> None:
        self.session = session
        self.spill = spill
        self.n_results = 0

    def parquet(self, path: Path) -> str:
        """Return SQL of the rows of a file."""
        name = GLOB.sub(r"\\\1", str(path.absolute())).replace("`", "``")
        return f"parquet.`file://{name}`"

    def numbered(self, path: Path, column: str) -> str:
        """Return SQL of the rows of a file with their number, from 1."""
        return f"(select _metadata.row_index + 1 as {column}, * from {self.parquet(path)})"

    def after(self, path: Path, *columns: str) -> str:
        """Return SQL of the rows of a file, with the previous row's values of some columns as `<column>_before`."""
        before = ", ".join(f"b.{column} as {column}_before" for column in columns)
        rows = self.numbered(path, "row_number")
        return f"(select a.*, {before} from {rows} a left join {rows} b on b.row_number = a.row_number - 1)"

    def view(self, name: str, query: str) -> None:
        self.session.sql(f"create or replace temporary view {name} as {query}")

    def keep(self, name: str, query: str) -> None:
        """Create a view with rows that are computed once."""
        self.session.sql(f"cache table {name} as {query}")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.session.sql(query).collect()]

    def table(self, query: str) -> pa.Table:
        """Return the rows of a query; they must fit into memory."""
        table: pa.Table = self.session.sql(query).toArrow()
        return table

    def batches(self, query: str, size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, in bounded memory."""
        folder = self.spill / f"result-{self.n_results}"
        self.n_results += 1
        self.session.sql(query).write.parquet(f"file://{folder.absolute()}")
        for path in sorted(folder.glob("part-*.parquet")):  # numbered in the order of the rows
            yield from pq.ParquetFile(path).iter_batches(size)
        shutil.rmtree(folder)


@contextmanager
def connect(stage: StageRun, memory_limit: str, engine: Engine) -> Iterator[Spark]:
    """Yield a session that ends with the block; raises ValueError if Spark is missing, unreachable, or fails."""
    sessions, failure = libraries()
    with TemporaryDirectory(dir=stage.folder, prefix=".spill-") as spill:
        try:
            session = start(sessions, engine, memory_limit, Path(spill))
            try:
                yield Spark(session, Path(spill))
            finally:
                session.stop()
        except failure as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(
                f"Spark at engine.master {engine.master} failed in stage {stage.name}: {first}; correct section engine "
                "of params.yaml, or set engine.name to duckdb"
            ) from error


def libraries() -> tuple[Any, type[Exception]]:
    """Return Spark's builder of sessions, and its class of errors."""
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ValueError(
            f"engine.name is spark, but {error.name} is not installed; run "
            "`pip install --constraint constraints.txt --editable '.[spark]'`, or set engine.name to duckdb"
        ) from None
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if java is None:
        where = f"JAVA_HOME ({home})" if home else "PATH"
        raise ValueError(
            f"engine.name is spark, which needs Java 17 or 21, but there is no java in {where}; install one, such as "
            "the package openjdk-17-jre-headless, or set engine.name to duckdb"
        )
    return SparkSession, PySparkException


def start(sessions: Any, engine: Engine, memory_limit: str, spill: Path) -> Any:
    """Start a session with the functions of the SQL text; `engine.settings` override SETTINGS."""
    memory = memory_limit.replace(" ", "").replace("i", "").lower().removesuffix("b")
    ours = {
        **SETTINGS,
        **(LOCAL if engine.master.startswith("local") else {}),
        "spark.driver.memory": memory,
        "spark.executor.memory": memory,
        "spark.local.dir": str(spill.absolute()),
        "spark.sql.warehouse.dir": str((spill / "warehouse").absolute()),
        "spark.pyspark.python": sys.executable,
    }
    builder = sessions.builder.master(engine.master).appName("longtail")
    for key, value in {**ours, **engine.settings}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for function in FUNCTIONS:
        session.sql(f"create or replace temporary function {function}")
    return session
