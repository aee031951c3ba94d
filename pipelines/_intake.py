"""The workbench of one ingest: a DuckDB database, and an account of every row that was read.

A file becomes `Rows`: a relation with the columns `line`, c0, c1, …, whatever format it came in. Broken rows go to the
table `rejected`, the number of rows that were read to the table `files`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import _csv, _engine
from pipelines._artifacts import StageRun
from pipelines._csv import literal
from pipelines._records import Dialect
from pipelines._stage import say
from pipelines._tables import REJECTED

NOT_MALFORMED = (
    "below_min_value",
    "unknown_item",
    "after_until",
)  # sound rows that the settings or the catalogue leave out
BATCH = 122_880  # rows of a parquet row group, DuckDB's own


@dataclass(frozen=True)
class Rows:
    """The rows of one file: SQL of the relation, of its columns by name, and of a row as it was read."""

    file: str
    number: int  # files are read in this order
    relation: str
    columns: dict[str, str]
    types: dict[str, str]  # SQL types by name; a text file holds nothing but VARCHAR
    raw: str

    def id(self, column: str, key: str) -> str:
        """SQL of a column of ids; a number with a fraction is none, since 7 and 7.0 would be two."""
        text = self.text(column, key)
        kind = self.types[column]
        if (
            kind not in ("VARCHAR", "UUID")
            and not kind.startswith("ENUM")
            and "INT" not in kind.split("(")[0].split("[")[0]
        ):
            raise ValueError(
                f"{self.file}: column {column!r} is {kind}, expected ids as text or integers; cast it before"
            )
        return text

    def text(self, column: str, key: str) -> str:
        """SQL of a column as text; `key` says where params.yaml names the column."""
        if column not in self.columns:
            found = ", ".join(map(repr, self.columns))
            remedy = "is ingest.table.delimiter right?" if len(self.columns) == 1 else "name one of these"
            raise ValueError(f"{self.file} has no column {column!r}, which {key} names; it has {found}: {remedy}")
        return f"cast({self.columns[column]} as varchar)"


class Intake:
    """Reads files of a kind (interactions, items, tags) and keeps account of their rows."""

    def __init__(self, con: duckdb.DuckDBPyConnection, scratch: Path, stage: StageRun) -> None:
        self.con = con
        self.scratch = scratch
        self.stage = stage
        self.n_files = 0
        con.execute(
            "create table files (kind varchar, file varchar, read bigint, blank_lines bigint, unfinished boolean)"
        )
        con.execute(
            """create table rejected
               (kind varchar, file varchar, line bigint, reason varchar, detail varchar, raw varchar)"""
        )

    def read(self, kind: str, path: Path, name: str, dialect: Dialect, *, names: Sequence[str] | None = None) -> Rows:
        """Read a text or parquet file; `names` are the columns of a text file that has no header."""
        if not path.is_relative_to(self.scratch):
            self.record(path, name)
        say("ingest", f"reading {name} ({path.stat().st_size / 1e6:,.1f} MB)")
        number, self.n_files = self.n_files, self.n_files + 1
        if path.suffix == ".parquet":
            rows = self._parquet(path, name, number)
            read, blank, unfinished = self.count(f"select count(*) from {rows.relation}"), 0, False
        else:
            rows, text = self._text(path, name, number, dialect, names)
            self._reject(kind, name, text.rejected)
            read, blank = text.n_rows + text.rejected.num_rows, text.blank_lines
            unfinished = text.is_unfinished
        if read == 0 and kind != "tags":
            raise ValueError(f"{name} has a header and no rows; check what wrote it")
        self.con.execute("insert into files values (?, ?, ?, ?, ?)", [kind, name, read, blank, unfinished])
        return rows

    def record(self, path: Path, name: str) -> str:
        """sha256 of a file of the user, taken before anything reads it; a second file of the same bytes is named."""
        digest = self.stage.inputs[self.stage.raw_input(path).as_posix()]
        twins = [other for other, known in self.stage.inputs.items() if known == digest and other != path.as_posix()]
        if twins:
            say("ingest", f"{name} holds the same bytes as {twins[0]}: its rows count twice")
        return digest

    def forget(self, rows: Rows) -> None:
        """Free the memory of rows that have been judged."""
        self.con.execute(f"drop table if exists judged; drop table if exists file_{rows.number}")

    def judge(self, kind: str, query: str, checks: Sequence[tuple[str, str, str]]) -> None:
        """Fill the table `judged` with the rows of a query (file, line, raw, …) and the `reason` against each, or null.

        checks: (reason, condition, detail) in SQL; the first condition that holds counts. `rejected` gets the bad rows.
        """
        reason = " ".join(f"when {condition} then {literal(code)}" for code, condition, _ in checks)
        detail = " ".join(f"when {literal(code)} then {text}" for code, _, text in checks)
        self.con.execute(
            f"""create or replace table judged as
                select * exclude (raw), case when reason is not null then raw end as raw
                from (select *, case {reason} end as reason from ({query}))"""
        )
        self.con.execute(
            f"""insert into rejected select {literal(kind)}, file, line, reason, case reason {detail} end, raw
                from judged where reason is not null"""
        )

    def count(self, query: str) -> int:
        return int(self.con.execute(query).fetchall()[0][0] or 0)

    def stream(self, query: str, schema: pa.Schema) -> pa.RecordBatchReader:
        """The rows of a query as batches of this schema, in bounded memory."""
        batches = self.con.sql(query).to_arrow_reader(BATCH)
        cast = (
            pa.RecordBatch.from_arrays(
                [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
            )
            for batch in batches
        )
        return pa.RecordBatchReader.from_batches(schema, cast)

    def rejected(self) -> pa.RecordBatchReader:
        """Every rejected row, in the order of files and lines."""
        return self.stream("select file, line, reason, detail, raw from rejected order by file, line, reason", REJECTED)

    def account(self) -> dict[str, dict[str, Any]]:
        """By kind of file: rows read, accepted, rejected, malformed, rejected by reason; blank lines are no rows."""
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

    def _text(
        self, path: Path, name: str, number: int, dialect: Dialect, names: Sequence[str] | None
    ) -> tuple[Rows, _csv.Read]:
        file = _csv.plain(path, self.scratch)
        read = _csv.load(self.con, file, f"file_{number}", dialect=dialect, names=names, scratch=self.scratch)
        if file != path:
            file.unlink()
        columns = {column: f"c{i}" for i, column in enumerate(read.header)}
        types = dict.fromkeys(columns, "VARCHAR")
        return Rows(name, number, read.relation, columns, types, joined(len(columns), dialect)), read

    def _reject(self, kind: str, name: str, rejected: pa.Table) -> None:
        self.con.register("broken", rejected)
        self.con.execute(
            f"insert into rejected select {literal(kind)}, {literal(name)}, line, reason, detail, raw from broken"
        )
        self.con.unregister("broken")

    def _parquet(self, path: Path, name: str, number: int) -> Rows:
        try:
            names = _csv.check_names(pq.read_schema(path).names, path)
            verify_pages(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is not a readable parquet file ({error}); write or fetch it again") from error
        columns = {column: f"c{i}" for i, column in enumerate(names)}
        fields = ", ".join(f"{identifier(column)} as {c}" for column, c in columns.items())
        scan = f"read_parquet({literal(str(path))}, file_row_number = true)"
        relation = f"(select file_row_number + 1 as line, {fields} from {scan})"
        described = self.con.execute(f"describe from {relation}").fetchall()[1:]
        types = {column: str(row[1]) for column, row in zip(columns, described, strict=True)}
        return Rows(name, number, relation, columns, types, joined(len(columns), Dialect(",", '"')))


@contextmanager
def intake(stage: StageRun, memory_limit: str) -> Iterator[Intake]:
    """An intake whose scratch files are gone when the block ends."""
    scratch = stage.output(".scratch")
    scratch.mkdir()
    try:
        with _engine.connect(stage, memory_limit) as con:
            yield Intake(con, scratch, stage)
    except duckdb.Error as error:
        raise ValueError(f"the source cannot be read: {error}; check the files and the ingest section") from error
    finally:
        shutil.rmtree(scratch)


def verify_pages(path: Path) -> None:
    """Read a parquet file once; OSError where a page does not match the checksum its writer gave it, if any."""
    file = pq.ParquetFile(path, page_checksum_verification=True)
    for _ in file.iter_batches(BATCH):
        pass


def joined(n_columns: int, dialect: Dialect) -> str:
    """SQL of a row in one text: its fields by the delimiter, quoted where they need it."""
    fields = [f"coalesce(cast(c{i} as varchar), '')" for i in range(n_columns)]
    if dialect.quote is not None:
        q, d = literal(dialect.quote), literal(dialect.delimiter)
        fields = [
            f"case when contains({f}, {d}) or contains({f}, {q}) or contains({f}, chr(10)) "
            f"then concat({q}, replace({f}, {q}, {q} || {q}), {q}) else {f} end"
            for f in fields
        ]
    return f"concat_ws({literal(dialect.delimiter)}, {', '.join(fields)})"


def identifier(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
