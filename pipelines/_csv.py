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

from pipelines._records import Dialect, Lines, count_lines, lines_before, nth_line, records, repair

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
    """A file that was read: its columns, in the table as c0, c1, … beside `line`; its broken records; blank lines."""

    header: list[str]
    rejected: pa.Table  # line, reason, detail, raw
    blank_lines: int


def plain(path: Path, scratch: Path) -> Path:
    """The path of a text file, or of its decompressed copy in `scratch`; refuses what is no readable text."""
    if path.suffix in PACKED:
        copy = scratch / f"{len(list(scratch.iterdir()))}-{path.stem}"
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
    """Read a plain text file into `table` (line, c0, c1, …); `names` are given where the file has no header."""
    columns = list(names) if names else header(path, dialect)
    skipped = 0 if names else 1
    n_lines = count_lines(path)
    absent, broken, blank = np.empty(0, np.int64), [], 0
    rejected = _scan(con, path, dialect, len(columns), skipped) if n_lines else None
    if rejected is None or _rows(con) + rejected.num_rows + skipped != n_lines:
        # a record is not a line here: line ends are mixed, lines are blank, or quotes hold line ends or never close
        copy = scratch / f"{table}.repaired"
        found = repair(path, copy, dialect, n_fields=len(columns))
        absent, broken, blank = np.array(found.absent, np.int64), found.broken, found.blank
        rejected = _scan(con, copy, dialect, len(columns), skipped)
        copy.unlink()
    lines = nth_line(rejected["record"].to_numpy(), absent)
    head = nth_line(np.arange(1, 1 + skipped), absent)
    _number(con, table, np.sort(np.concatenate([absent, head, lines])))
    out = rejected.drop(["record"]).add_column(0, "line", pa.array(lines, pa.int64()))
    more = [{"line": n, "reason": "broken_quote", "detail": DETAILS["broken_quote"], "raw": raw} for n, raw in broken]
    return Read(columns, pa.concat_tables([out, pa.Table.from_pylist(more, out.schema)]), blank)


def _scan(con: duckdb.DuckDBPyConnection, path: Path, dialect: Dialect, n_columns: int, skipped: int) -> pa.Table:
    """Read into the table `scanned` (seq, c0, …); returns the broken records (record number, reason, detail, raw)."""
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(n_columns))
    quote = literal(dialect.quote or "")
    try:
        # every column is materialized: one that nobody asks for is not read, and its errors would stay hidden
        con.execute(
            f"""create or replace table scanned as select row_number() over () as seq, * from read_csv(
                  {literal(str(path))}, auto_detect = false, header = {bool(skipped)}, columns = {{{columns}}},
                  delim = {literal(dialect.delimiter)}, quote = {quote}, escape = {quote}, compression = 'none',
                  strict_mode = true, store_rejects = true, rejects_limit = 0, nullstr = '\x01',
                  max_line_size = 16777216)"""
        )
    except duckdb.Error as error:
        raise ValueError(
            f"{path} cannot be read as delimited text: {str(error).splitlines()[0]}; check delimiter and quote"
        ) from error
    found = con.sql(
        """select max(line)::bigint as "record", min(error_type::varchar) as kind,
                  ltrim(any_value(csv_line), chr(10) || chr(13)) as raw
           from reject_errors group by line_byte_position order by 1"""
    ).to_arrow_table()
    con.execute("drop table reject_errors; drop table reject_scans")
    kinds = found["kind"].to_pylist()
    reasons = [REASONS.get(kind, kind.lower().replace(" ", "_")) for kind in kinds]
    details = [
        DETAILS.get(reason) or f"{len(dialect.split(raw) or raw.split(dialect.delimiter))} fields, expected {n_columns}"
        for reason, raw in zip(reasons, found["raw"].to_pylist(), strict=True)
    ]
    return pa.table(
        {
            "record": found["record"],
            "reason": pa.array(reasons, pa.string()),
            "detail": pa.array(details, pa.string()),
            "raw": found["raw"].cast(pa.string()),
        }
    )


def _rows(con: duckdb.DuckDBPyConnection) -> int:
    return int(con.execute("select count(*) from scanned").fetchall()[0][0])


def _number(con: duckdb.DuckDBPyConnection, table: str, absent: Lines) -> None:
    """Turn `scanned` into `table`: the n-th row gets the n-th line that is not absent."""
    before, first = np.unique(lines_before(absent)[::-1], return_index=True)
    con.register("shifts", pa.table({"before": before, "shift": len(absent) - first}))
    con.execute(
        f"""create or replace table {table} as select seq + coalesce(shift, 0) as line, scanned.* exclude (seq)
            from scanned asof left join shifts on seq > shifts.before"""
    )
    con.unregister("shifts")
    con.execute("drop table scanned")


def literal(text: str) -> str:
    """Text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
