"""Apache Spark as an engine of the stages: the SQL text that DuckDB runs, on any number of machines.

Executors have to see the folder of the project (a shared file system, or one machine).
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

SETTINGS = {  # so that Spark reads the text as DuckDB does
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.parser.escapedStringLiterals": "true",  # a backslash is a backslash
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",  # a zoned one would reach Python in the zone of this machine
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.filterPushdown": "false",  # statistics leave NaN out, and it would pass every range
    "spark.sql.inMemoryColumnarStorage.partitionPruning": "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",  # the 200 of Spark are for as many cores
}
FUNCTIONS = (  # of DuckDB and its macros, under the names they have there
    r"regexp_full_match(s string, p string) returns boolean return s rlike concat('\A(?:', p, ')\z')",
    "regexp_matches(s string, p string) returns boolean return s rlike p",
    "instant_of(s string) returns bigint return unix_micros(try_cast(s as timestamp_ltz))",
    r"words_of(s string) returns string return regexp_replace(replace(lower(s), 'ς', 'σ'), '[^\p{L}\p{N}]+', '')",
    r"is_foreign(s string) returns boolean return s rlike '[^\p{IsLatin}\P{L}]'",
)
GLOB = re.compile(r"([\\\[\]{}*?])")


class Spark:
    """Tables of a Spark session; large results come back through parquet files in `spill`, in order."""

    def __init__(self, session: Any, spill: Path) -> None:
        self.session = session
        self.spill = spill
        self.n_results = 0

    def parquet(self, path: Path) -> str:
        """SQL of the rows of a file."""
        name = GLOB.sub(r"\\\1", str(path.absolute())).replace("`", "``")
        return f"parquet.`file://{name}`"

    def numbered(self, path: Path, column: str) -> str:
        """SQL of the rows of a file with their number, from 1."""
        return f"(select _metadata.row_index + 1 as {column}, * from {self.parquet(path)})"

    def after(self, path: Path, *columns: str) -> str:
        """SQL of the rows of a file, beside them as `<column>_before` what some columns hold in the row before."""
        before = ", ".join(f"b.{column} as {column}_before" for column in columns)
        rows = self.numbered(path, "row_number")
        return f"(select a.*, {before} from {rows} a left join {rows} b on b.row_number = a.row_number - 1)"

    def view(self, name: str, query: str) -> None:
        self.session.sql(f"create or replace temporary view {name} as {query}")

    def keep(self, name: str, query: str) -> None:
        """A view whose rows are computed once."""
        self.session.sql(f"cache table {name} as {query}")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.session.sql(query).collect()]

    def table(self, query: str) -> pa.Table:
        """The rows of a query that fit into memory."""
        table: pa.Table = self.session.sql(query).toArrow()
        return table

    def batches(self, query: str, size: int) -> Iterator[pa.RecordBatch]:
        """The rows of a query, in bounded memory."""
        folder = self.spill / f"result-{self.n_results}"
        self.n_results += 1
        self.session.sql(query).write.parquet(f"file://{folder.absolute()}")
        for path in sorted(folder.glob("part-*.parquet")):  # numbered in the order of the rows
            yield from pq.ParquetFile(path).iter_batches(size)
        shutil.rmtree(folder)


@contextmanager
def connect(stage: StageRun, memory_limit: str, engine: Engine) -> Iterator[Spark]:
    """A session that ends with the block; ValueError where Spark is not installed, not reached, or fails."""
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
    """Spark's builder of sessions, and what its errors are."""
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
            f"engine.name is spark, which needs Java 17 or 21, and there is no java in {where}; install one, such as "
            "the package openjdk-17-jre-headless, or set engine.name to duckdb"
        )
    return SparkSession, PySparkException


def start(sessions: Any, engine: Engine, memory_limit: str, spill: Path) -> Any:
    """A session with the functions that the text calls; what `engine.settings` says goes before our own settings."""
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
