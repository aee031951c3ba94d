"""Ledger of one ingest: a DuckDB database with an account of every row that was read.

A file of any format becomes `Rows`: a relation with the columns `line`, c0, c1, …. Broken rows go to the
table `rejected`, the number of rows that were read to the table `files`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.artifacts.outputs import StageRun, sha256
from pipelines.artifacts.tables import REJECTED, ROWS
from pipelines.ingest.canonical import first_read
from pipelines.ingest.canonical import pseudonyms as canonical_pseudonyms
from pipelines.ingest.formats import known
from pipelines.ingest.formats.format import File, Opened, into_table, numbered
from pipelines.runtime import engine as engines
from pipelines.runtime import spark as runtime_spark
from pipelines.runtime.console import say
from pipelines.runtime.engine import Embedded, Tables
from pipelines.runtime.sql import literal
from pipelines.settings.engine import Engine

NOT_MALFORMED = (  # reasons of well-formed rows that the settings or the catalogue leave out
    *("below_min_value", "unknown_item", "after_until"),
    *("bot_rate", "bot_entropy", "over_daily_cap"),
)
Check = tuple[str, str, str]  # reason, condition and detail in SQL


@dataclass(frozen=True)
class Rows:
    """Rows of one file: SQL of the relation, of its columns by name, and of a row as it was read."""

    file: str
    number: int  # position in the order of reading
    relation: str  # line, c0, c1, …; empty before the rows are read
    columns: dict[str, str]
    types: dict[str, str]  # SQL types by name; VARCHAR alone in a text file
    raw: str
    opened: Opened

    def id(self, column: str, key: str) -> str:
        """Return SQL of a column of ids; refuses fractional numbers, since 7 and 7.0 would be two ids."""
        text = self.text(column, key)
        kind = self.types[column]
        if (
            kind not in ("VARCHAR", "UUID")
            and not kind.startswith("ENUM")
            and "INT" not in kind.split("(")[0].split("[")[0]
        ):
            raise ValueError(
                f"{self.file}: column {column!r} is {kind}, expected ids as text or integers; convert the column"
            )
        return text

    def text(self, column: str, key: str) -> str:
        """Return SQL of a column as text; `key`: the setting that names the column."""
        if column not in self.columns:
            found = ", ".join(map(repr, self.columns))
            remedy = "is ingest.table.delimiter right?" if len(self.columns) == 1 else "name one of these"
            raise ValueError(f"{self.file} has no column {column!r}, required by {key}; it has {found}: {remedy}")
        return f"cast({self.columns[column]} as string)"


class Intake:
    """Reader of files by kind (interactions, items, tags, users) that keeps account of their rows."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        scratch: Path,
        stage: StageRun,
        *,
        key: bytes | None = None,
        engine: Tables | None = None,
    ) -> None:
        """key: the key of pseudonyms, if users get them; engine: for events in parquet files, if not DuckDB."""
        self.con = con
        self.embedded: Tables = Embedded(con)
        self.engine = engine or self.embedded
        self.key = key
        self.scratch = scratch
        self.stage = stage
        self.n_files = 0
        self.moments: dict[str, datetime] = {}  # time of the first read of each file of events, by sha256
        self.user_space = None if key is None else canonical_pseudonyms.check(key)  # within it ids are comparable
        con.execute(
            "create table files (kind varchar, file varchar, read bigint, blank_lines bigint, unfinished boolean)"
        )
        con.execute(
            """create table rejected
               (kind varchar, file varchar, line bigint, reason varchar, detail varchar, raw varchar)"""
        )

    def read(self, kind: str, file: File) -> Rows:
        """Read a file into a table, with its columns unchanged."""
        self.record(file)
        rows = self.open(file)
        if rows.relation:
            self.account_file(kind, file.name, self.count(f"select count(*) from {rows.relation}"), 0, False)
            return rows
        table = f"file_{rows.number}"
        read = rows.opened.fill(into_table(table))
        self.reject(kind, file.name, read.rejected)
        n_rows = read.n_rows + read.rejected.num_rows
        self.account_file(kind, file.name, n_rows, read.blank_lines, read.is_unfinished)
        return replace(rows, relation=numbered(self.con, table, read.shifts, f"shifts_{rows.number}"))

    def open(self, file: File) -> Rows:
        """Return the columns of a file, before its rows are read."""
        say("ingest", f"reading {file.name} ({file.path.stat().st_size / 1e6:,.1f} MB)")
        number, self.n_files = self.n_files, self.n_files + 1
        opened = known.of(file.path).open_file(self.con, file, self.scratch)
        columns = {column: f"c{i}" for i, column in enumerate(opened.types)}
        return Rows(file.name, number, opened.relation, columns, opened.types, opened.raw, opened)

    def account_file(self, kind: str, name: str, read: int, blank_lines: int, is_unfinished: bool) -> None:
        if read == 0 and kind != "tags":
            raise ValueError(f"{name} has a header but no rows; check the program that wrote it")
        self.con.execute("insert into files values (?, ?, ?, ?, ?)", [kind, name, read, blank_lines, is_unfinished])

    def record(self, file: File) -> str:
        """Return the sha256 of a file, taken before it is read; a second file of the same bytes is reported."""
        if file.path.is_relative_to(self.scratch):
            return sha256(file.path)
        inputs = self.stage.inputs
        digest = inputs[self.stage.raw_input(file.path).as_posix()]
        twins = [other for other, known in inputs.items() if known == digest and other != file.path.as_posix()]
        if twins:
            say("ingest", f"{file.name} has the same content as {twins[0]}: its rows count twice")
        return digest

    def first_read(self, digest: str) -> datetime:
        """Return the time of a file's first read; it is stored when the run has succeeded."""
        self.moments[digest] = first_read.moment(digest)
        return self.moments[digest]

    def judge(self, kind: str, query: str, checks: Sequence[Check]) -> None:
        """Fill the table `judged` with the rows of a query (file, line, raw, …) and a `reason` for each, or null.

        checks: (reason, condition, detail) in SQL; the first condition that holds counts. `rejected` gets the bad rows.
        """
        reason, detail = verdict(checks)
        raw = "raw" if self.key is None else "null"
        self.con.execute(
            f"""create or replace table judged as
                select * exclude (raw), case when reason is not null then raw end as raw
                from (select *, {reason} as reason from ({query}))"""
        )
        self.con.execute(
            f"""insert into rejected select {literal(kind)}, file, line, reason, {detail}, {raw}
                from judged where reason is not null"""
        )

    def count(self, query: str) -> int:
        return int(self.con.execute(query).fetchall()[0][0] or 0)

    def share(self, name: str, query: str, *, as_name: str | None = None) -> None:
        """Make a result of DuckDB available to the engine."""
        path = self.scratch / f"{name}.parquet"
        self.con.execute(f"copy ({query}) to {literal(str(path))} (format parquet)")
        self.engine.view(as_name or name, f"select * from {self.engine.parquet(path)}")

    def stream(self, query: str, schema: pa.Schema) -> pa.RecordBatchReader:
        """Return the rows of a query as batches of this schema, in bounded memory."""
        batches = self.con.sql(query).to_arrow_reader(ROWS)
        cast = (
            pa.RecordBatch.from_arrays(
                [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
            )
            for batch in batches
        )
        return pa.RecordBatchReader.from_batches(schema, cast)

    def rejected(self) -> pa.RecordBatchReader:
        """Return every rejected row, in the order of files and lines."""
        return self.stream("select file, line, reason, detail, raw from rejected order by file, line, reason", REJECTED)

    def account(self) -> dict[str, dict[str, Any]]:
        """Return, by kind of file, the rows read, accepted, rejected (also by reason), malformed, and blank lines."""
        kinds = self.con.execute(
            """select kind, sum(read)::bigint, sum(blank_lines)::bigint,
                      coalesce(list(file order by file) filter (unfinished), [])
               from files group by kind order by kind"""
        ).fetchall()
        counts = {}
        for kind, read, blank, unfinished in kinds:
            reasons: dict[str, int] = dict(
                self.con.execute(
                    "select reason, count(*) from rejected where kind = ? group by reason order by reason", [kind]
                ).fetchall()
            )
            rejected = sum(reasons.values())
            malformed = rejected - sum(reasons.get(reason, 0) for reason in NOT_MALFORMED)
            counts[kind] = {
                "read": read,
                "accepted": read - rejected,
                "rejected": rejected,
                "malformed": malformed,
                "reasons": reasons,
                "blank_lines": blank,
                "unfinished_files": unfinished,
            }
        return counts

    def reject(self, kind: str, name: str, rejected: pa.Table) -> None:
        """Add rejected records (line, reason, detail, raw)."""
        self.con.register("broken", self.shown(rejected))
        self.con.execute(
            f"insert into rejected select {literal(kind)}, {literal(name)}, line, reason, detail, raw from broken"
        )
        self.con.unregister("broken")

    def shown(self, rejected: pa.Table) -> pa.Table:
        """Return rejected records; without their text if users have pseudonyms, since it contains user ids."""
        if self.key is None:
            return rejected
        place = rejected.schema.get_field_index("raw")
        return rejected.set_column(place, "raw", pa.nulls(rejected.num_rows, pa.string()))


def verdict(checks: Sequence[Check]) -> tuple[str, str]:
    """Return SQL of the reason for rejecting a row, or null, and SQL of the detail of a column `reason`."""
    reason = " ".join(f"when {condition} then {literal(code)}" for code, condition, _ in checks)
    detail = " ".join(f"when {literal(code)} then {text}" for code, _, text in checks)
    return f"case {reason} end", f"case reason {detail} end"


@contextmanager
def intake(stage: StageRun, memory_limit: str, pseudonyms: str | None, engine: Engine) -> Iterator[Intake]:
    """Yield an intake; its scratch files are removed when the block ends.

    pseudonyms: the environment variable with the key, if users get pseudonyms.
    """
    key = None if pseudonyms is None else canonical_pseudonyms.key_in(pseudonyms)
    scratch = stage.output(".scratch")
    scratch.mkdir()
    try:
        with ExitStack() as stack:
            con = stack.enter_context(engines.connect(stage, memory_limit))
            if key is not None:
                canonical_pseudonyms.use(con, key)
            spark = (
                stack.enter_context(runtime_spark.connect(stage, memory_limit, engine))
                if engine.name == "spark"
                else None
            )
            yield Intake(con, scratch, stage, key=key, engine=spark)
    except duckdb.Error as error:
        raise ValueError(f"the source cannot be read: {error}; check the files and the ingest section") from error
    finally:
        shutil.rmtree(scratch)
