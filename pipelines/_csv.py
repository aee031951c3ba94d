"""Strict reading of delimited text into DuckDB: every record becomes a row of text fields, or is rejected by line.

`try_cast` and friends see nothing here: fields stay the text they are in the file (`0007`, `NA`, `null`), and what they
mean is decided where they are used.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa

from pipelines._records import Dialect, Lines, Repair, count_lines, lines_before, nth_line, records, repair

REASONS = {
    "MISSING COLUMNS": "wrong_field_count",
    "TOO MANY COLUMNS": "wrong_field_count",
    "UNQUOTED VALUE": "broken_quote",
    "INVALID ENCODING": "invalid_utf8",
    "LINE SIZE OVER MAXIMUM": "line_too_long",
}
DETAILS = {
    "broken_quote": "a quote is opened or closed in the wrong place",
    "invalid_utf8": "the line is not UTF-8; convert the file with iconv",
    "line_too_long": "the record is longer than 16 MiB",
}
PACKED: dict[str, Literal["gzip", "zstd"]] = {".gz": "gzip", ".zst": "zstd"}
UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Read:
    """A file that was read: its column names, SQL of its whole records as (line, c0, c1, …), and what was left out."""

    header: list[str]
    relation: str
    n_rows: int
    rejected: pa.Table  # line, reason, detail, raw
    blank_lines: int


def plain(path: Path, scratch: Path) -> Path:
    """The path of a text file, or of its decompressed copy in `scratch`; refuses what is no readable text."""
    if path.suffix in PACKED:
        copy = scratch / f"{path.stem}.plain"
        try:
            with (
                pa.input_stream(path, compression=PACKED[path.suffix]) as source,
                copy.open("wb") as target,
            ):
                shutil.copyfileobj(source, target, 1 << 24)
        except OSError as error:
            raise ValueError(
                f"{path} cannot be decompressed ({error}); it is damaged or cut short: fetch it again"
            ) from error
        path = copy
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        raise ValueError(f"{path} is empty (0 bytes), expected a header and rows; check what wrote it")
    if start in UTF16:
        raise ValueError(f"{path} is UTF-16, expected UTF-8; convert it with `iconv -f UTF-16 -t UTF-8`")
    return path


def header(path: Path, dialect: Dialect) -> list[str]:
    """The column names on the first line; raises ValueError where it cannot be one."""
    with path.open(encoding="latin-1", newline=None) as file:
        _, lines, whole = next(records(file, dialect, n_fields=None))
    first = "\n".join(lines).encode("latin-1").decode("utf-8-sig", "replace")
    names = dialect.split(first) if whole else None
    if not names or not first.strip():
        raise ValueError(f"{path}: line 1 is {first[:80]!r}, expected the header with the names of the columns; add it")
    return check_names([name.strip() or f"column_{i}" for i, name in enumerate(names, start=1)], path)


def check_names(names: list[str], path: Path) -> list[str]:
    """The names of a file's columns, which must differ in more than upper and lower case, as they do in SQL."""
    folded = [name.casefold() for name in names]
    if twice := [name for name in names if folded.count(name.casefold()) > 1]:
        raise ValueError(f"{path} has two columns {twice[0]!r} in {names}; rename one of them")
    return names


def load(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    table: str,
    *,
    dialect: Dialect,
    names: Sequence[str] | None,
    scratch: Path,
) -> Read:
    """Read a plain text file into `table`; `names` are given where the file has no header."""
    columns = list(names) if names else header(path, dialect)
    head = 0 if names else 1
    n_lines = count_lines(path)
    found = Repair()
    broken = _scan(con, path, table, dialect, len(columns), head=head) if n_lines else None
    if broken is None or _rows(con, table) + broken.num_rows + head != n_lines:
        # a record is not a line here: line ends are mixed, lines are blank, or quotes hold line ends or never close
        copy = scratch / f"{table}.repaired"
        found = repair(path, copy, dialect, n_fields=len(columns))
        broken = _scan(con, copy, table, dialect, len(columns), head=head)
        copy.unlink()
    absent = np.array(found.absent, np.int64)
    lines = nth_line(np.concatenate([np.arange(1, 1 + head), broken["line"].to_numpy()]), absent)
    relation = _numbered(con, table, np.sort(np.concatenate([absent, lines])))
    rejected = pa.concat_tables(
        [
            broken.set_column(0, "line", pa.array(lines[head:], pa.int64())),
            _rejected(
                [n for n, _ in found.broken], ["broken_quote"] * len(found.broken), [raw for _, raw in found.broken]
            ),
        ]
    )
    return Read(columns, relation, _rows(con, table), rejected, found.blank)


def _scan(
    con: duckdb.DuckDBPyConnection, path: Path, table: str, dialect: Dialect, n_columns: int, *, head: int
) -> pa.Table:
    """Fill `table` (seq, c0, …) with the whole records; returns the broken ones, `line` being the record's number."""
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(n_columns))
    quote = literal(dialect.quote or "")
    try:
        # every column is materialized: one that nobody asks for is not read, and its errors would stay hidden
        con.execute(
            f"""create or replace table {table} as select row_number() over () as seq, * from read_csv(
                  {literal(str(path))}, auto_detect = false, header = {bool(head)}, columns = {{{columns}}},
                  delim = {literal(dialect.delimiter)}, quote = {quote}, escape = {quote}, compression = 'none',
                  strict_mode = true, store_rejects = true, rejects_limit = 0, nullstr = '\x01',
                  max_line_size = 16777216)"""
        )
    except duckdb.Error as error:
        problem = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as delimited text: {problem}; check delimiter and quote") from error
    # a record can have several errors; the text of one behind CRLF begins with the LF
    found = con.sql(
        """select max(line)::bigint as "record", min(error_type::varchar) as kind,
                  ltrim(any_value(csv_line), chr(10) || chr(13)) as raw
           from reject_errors group by line_byte_position order by 1"""
    ).to_arrow_table()
    con.execute("drop table reject_errors; drop table reject_scans")
    kinds, raw = found["kind"].to_pylist(), found["raw"].to_pylist()
    reasons = [REASONS.get(kind, kind.lower().replace(" ", "_")) for kind in kinds]
    n_fields = [len(dialect.split(text) or text.split(dialect.delimiter)) for text in raw]
    details = [f"{n} fields, expected {n_columns}" for n in n_fields]
    return _rejected(found["record"].to_pylist(), reasons, raw, details)


def _rejected(lines: list[int], reasons: list[str], raw: list[str], details: list[str] | None = None) -> pa.Table:
    """Table of rejected records; what a reason means stands for itself, but for the number of fields in `details`."""
    known = [DETAILS.get(reason, "") for reason in reasons]
    texts = [text or other for text, other in zip(known, details or known, strict=True)]
    return pa.table(
        {
            "line": pa.array(lines, pa.int64()),
            "reason": pa.array(reasons, pa.string()),
            "detail": pa.array(texts, pa.string()),
            "raw": pa.array(raw, pa.string()),
        }
    )


def _rows(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(con.execute(f"select count(*) from {table}").fetchall()[0][0])


def _numbered(con: duckdb.DuckDBPyConnection, table: str, absent: Lines) -> str:
    """SQL of the table with `line` instead of `seq`: the n-th row is on the n-th line that is not absent."""
    before, last = np.unique(lines_before(absent)[::-1], return_index=True)
    shift = len(absent) - last  # how many absent lines come before the line of a row with seq > before
    if before.tolist() in ([], [0]):  # at most a header
        return f"(select seq + {shift.sum()} as line, * exclude (seq) from {table})"
    con.register("shifts", pa.table({"before": before, "shift": shift}))
    con.execute(f"create table {table}_shifts as from shifts")
    con.unregister("shifts")
    return f"""(select seq + coalesce(shift, 0) as line, t.* exclude (seq)
                from {table} t asof left join {table}_shifts on seq > before)"""


def literal(text: str) -> str:
    """Text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
