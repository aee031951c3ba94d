"""Interface of a file format: open a file, store its rows, find a user in it, and remove the user's rows.

A format is a module of this folder with the names of `Format`, listed in `known`. Ingest and `longtail forget` know
formats by this interface alone, so that no file can be read in which a user cannot be found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.formats.records import Dialect, Lines, lines_before
from pipelines.runtime.sql import literal


@dataclass(frozen=True)
class File:
    """A file to read, its name in reports and its dialect; names: the column names if it has no header."""

    path: Path
    name: str
    dialect: Dialect
    names: Sequence[str] | None = None


@dataclass(frozen=True)
class Keep:
    """Destination of the records of a file."""

    fill: Callable[[str], str]  # SQL that stores the rows of a scan (c0, c1, …), in their order; all columns are used
    kept: str  # SQL of the stored rows, `seq` being the record's number from 1


@dataclass(frozen=True)
class Read:
    """Result of reading a file: the number of accepted records, their lines, and the rejected records."""

    n_rows: int
    shifts: pa.Table  # before, shift: records with seq > before are on line seq + shift
    rejected: pa.Table  # line, reason, detail, raw
    blank_lines: int
    is_unfinished: bool  # no line end after the last row, which may be truncated


@dataclass(frozen=True)
class Opened:
    """A file with known columns, called c0, c1, … in SQL, before its rows are read."""

    types: dict[str, str]  # SQL types by the file's names of the columns, in their order
    raw: str  # SQL of a row as it was read
    fill: Callable[[Keep], Read]  # read the rows into a destination
    relation: str = ""  # SQL of the rows with their `line`, if the file itself can be queried
    parquet: Path | None = None  # the file, if Spark can read it


@dataclass(frozen=True)
class Search:
    """Search of binary files: in caches and archives a file is known by its first bytes alone.

    mentions: tells whether a pattern of `mention` occurs in a file; columns: of users, by the names in the settings.
    Raises ArrowInvalid or OSError if the file is damaged, or another one with these first bytes.
    """

    signature: bytes
    mentions: Callable[[str, Collection[str], BinaryIO], bool]


class Format(Protocol):
    """Names that the module of a format defines."""

    SUFFIXES: tuple[str, ...]
    SEARCHES: tuple[Search, ...]  # none for plain text, in which words are searched

    def open_file(self, con: duckdb.DuckDBPyConnection, file: File, scratch: Path) -> Opened:
        """Return the columns of a file; raises ValueError if it is not of this format."""

    def without_user(self, file: File, column: str, user_id: str, target: Path) -> bool:
        """Write a file without the rows of a user to `target`; return whether there are any.

        column: that of the users. Raises ValueError with a remedy if there are some and they cannot be left out.
        """


def mention(names: Iterable[str]) -> str:
    """Return a pattern that matches any of these names as a word."""
    return rf"(?:^|[^\w-])(?:{'|'.join(map(re.escape, sorted(names)))})(?:$|[^\w-])"


def into_table(name: str) -> Keep:
    """Store the fields unchanged in a table."""
    return Keep(
        lambda scan: f"create or replace table {name} as select row_number() over () as seq, * from {scan}", name
    )


def check_names(names: list[str], path: Path) -> list[str]:
    """Return the names of a file's columns; raises ValueError if two differ in case alone, as SQL ignores case."""
    folded = [name.casefold() for name in names]
    if twice := [name for name in names if folded.count(name.casefold()) > 1]:
        raise ValueError(f"{path} has two columns {twice[0]!r} in {names}; rename one of them")
    return names


def joined(n_columns: int, dialect: Dialect) -> str:
    """Return SQL of a row as one text: its fields joined by the delimiter, quoted where necessary."""
    fields = [f"coalesce(cast(c{i} as varchar), '')" for i in range(n_columns)]
    if dialect.quote is not None:
        q, d = literal(dialect.quote), literal(dialect.delimiter)
        fields = [
            f"case when contains({f}, {d}) or contains({f}, {q}) or contains({f}, chr(10)) "
            f"then concat({q}, replace({f}, {q}, {q} || {q}), {q}) else {f} end"
            for f in fields
        ]
    return f"concat_ws({literal(dialect.delimiter)}, {', '.join(fields)})"


def rejections(lines: list[int], reasons: list[str], details: list[str], raw: list[str]) -> pa.Table:
    """Return a table of rejected records."""
    return pa.table(
        {
            "line": pa.array(lines, pa.int64()),
            "reason": pa.array(reasons, pa.string()),
            "detail": pa.array(details, pa.string()),
            "raw": pa.array(raw, pa.string()),
        }
    )


def shifts_of(absent: Lines) -> pa.Table:
    """Return the offsets from record number to line when the sorted lines `absent` hold no record."""
    before, last = np.unique(lines_before(absent)[::-1], return_index=True)
    return pa.table({"before": pa.array(before, pa.int64()), "shift": pa.array(len(absent) - last, pa.int64())})


def numbered(con: duckdb.DuckDBPyConnection, relation: str, shifts: pa.Table, name: str) -> str:
    """Return SQL of a relation with `line` instead of `seq`; `name`: of a table to create if one is necessary."""
    if shifts["before"].to_pylist() in ([], [0]):  # at most a header
        shift = pc.sum(shifts["shift"]).as_py() or 0
        return f"(select seq + {shift} as line, * exclude (seq) from {relation})"
    con.register("shifts", shifts)
    con.execute(f"create or replace table {name} as from shifts")
    con.unregister("shifts")
    return f"""(select seq + coalesce(shift, 0) as line, t.* exclude (seq)
                from {relation} t asof left join {name} on seq > before)"""


NO_SHIFTS = pa.table({"before": pa.array([], pa.int64()), "shift": pa.array([], pa.int64())})
NOTHING_REJECTED = rejections([], [], [], [])
