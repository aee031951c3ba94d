"""Strict reading of delimited text into DuckDB: every record becomes a row of text fields, or is rejected by line.

Nothing is cast here: fields keep their text from the file (`0007`, `NA`, `null`), and the code that uses them
interprets it.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Literal

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.ingest.formats import unpacked_size
from pipelines.ingest.formats.format import (
    File,
    Keep,
    Opened,
    Read,
    Search,
    check_names,
    joined,
    mention,
    rejections,
    shifts_of,
)
from pipelines.ingest.formats.records import (
    Dialect,
    Repair,
    as_text,
    count_lines,
    nth_line,
    records,
    repair,
)
from pipelines.runtime.sql import literal

TEXT = (".csv", ".tsv", ".dat", ".txt")
PACKED: dict[str, Literal["gzip", "zstd"]] = {".gz": "gzip", ".zst": "zstd"}
SUFFIXES: tuple[str, ...] = (*TEXT, *(f"{suffix}{packed}" for suffix in TEXT for packed in PACKED))
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
MARKS = {  # byte-order marks of other encodings than UTF-8; longest first, since one is the start of another
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


@dataclass(frozen=True)
class Text:
    """Plain text file with known columns."""

    path: Path
    dialect: Dialect
    columns: list[str]
    has_header: bool


def open_file(con: duckdb.DuckDBPyConnection, file: File, scratch: Path) -> Opened:
    """Return the columns of a file; a decompressed copy in `scratch` is removed after it was read."""
    text = open_text(file.path, file.dialect, names=file.names, scratch=scratch)

    def fill(keep: Keep) -> Read:
        read = load(con, text, keep, scratch)
        if text.path.is_relative_to(scratch):
            text.path.unlink()
        return read

    return Opened(dict.fromkeys(text.columns, "VARCHAR"), joined(len(text.columns), file.dialect), fill)


def without_user(file: File, column: str, user_id: str, target: Path) -> bool:
    """Leave out the user's records, malformed ones that mention the user too; others keep all bytes but line ends."""
    found = False
    words = re.compile(mention([user_id]))
    with TemporaryDirectory(dir=file.path.parent, prefix=".forget-") as scratch:
        text = open_text(file.path, file.dialect, names=file.names, scratch=Path(scratch))
        place = text.columns.index(column)
        packed = PACKED.get(file.path.suffix)
        with (
            text.path.open(encoding="latin-1", newline=None) as source,
            pa.output_stream(str(target), compression=packed or "detect") as output,
        ):
            for number, lines, whole in records(source, file.dialect, n_fields=len(text.columns)):
                record = "\n".join(lines)
                readable = record.encode("latin-1").decode("utf-8", "backslashreplace")
                fields = file.dialect.split(readable) if whole else None
                if number > int(text.has_header) or not text.has_header:
                    exact = fields is not None and len(fields) == len(text.columns)
                    if fields[place] == user_id if exact and fields else words.search(readable):
                        found = True
                        continue
                output.write(f"{record}\n".encode("latin-1"))
    return found


def unpacked_mentions(packing: Literal["gzip", "zstd"], words: str, columns: Collection[str], file: BinaryIO) -> bool:
    """Search packed text line by line."""
    with pa.input_stream(file, compression=packing) as text:  # type: ignore[arg-type]
        return any(re.search(words, line) for line in io.TextIOWrapper(text, "utf-8", "replace"))  # type: ignore[type-var]


SEARCHES: tuple[Search, ...] = (
    Search(b"\x1f\x8b", partial(unpacked_mentions, "gzip")),
    Search(b"\x28\xb5\x2f\xfd", partial(unpacked_mentions, "zstd")),
)


def open_text(path: Path, dialect: Dialect, *, names: Sequence[str] | None, scratch: Path) -> Text:
    """Return the text of a file; `names`: its column names if it has no header."""
    copy = plain(path, scratch)
    return Text(copy, dialect, list(names) if names else header(copy, dialect, named=path), names is None)


def plain(path: Path, scratch: Path) -> Path:
    """Return the path of a text file, or of its decompressed copy in `scratch`; refuses unreadable text."""
    source = path
    if path.suffix in PACKED:
        copy = scratch / f"{len(list(scratch.iterdir()))}-{path.stem}"
        try:
            with (
                pa.input_stream(path, compression=PACKED[path.suffix]) as packed,
                copy.open("wb") as target,
            ):
                copied(packed, target, path)
        except ValueError:
            copy.unlink()
            raise
        except OSError as error:
            copy.unlink(missing_ok=True)
            if error.errno is not None:  # an error of the disk, not of the file
                raise
            raise ValueError(
                f"{path} cannot be decompressed ({error}); it is damaged or truncated: fetch it again"
            ) from error
        path = copy
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise ValueError(f"{source} is empty (0 bytes), expected a header and rows; check the program that wrote it")
    if encoding := encoding_of(start):
        raise ValueError(f"{source} is {encoding}, expected UTF-8; convert it with `iconv -f {encoding} -t UTF-8`")
    return path


def copied(packed: pa.NativeFile, target: BinaryIO, path: Path) -> None:
    """Decompress a file up to its limit; raises ValueError beyond it."""
    size, allowed = 0, unpacked_size.limit(path, Path(target.name).parent)
    while block := packed.read(1 << 24):
        size += len(block)
        if size > allowed:
            raise unpacked_size.refuse(path, size, allowed, at_least=True)
        target.write(block)


def encoding_of(start: bytes) -> str | None:
    """Return the encoding that the first four bytes show, if it is not a superset of ASCII."""
    for mark, encoding in MARKS.items():
        if start.startswith(mark):
            return encoding
    if len(start) == 4 and start.count(0) == 2 and start[0::2] != start[1::2]:  # ASCII, every other byte a NUL
        return "UTF-16BE" if start[0] == start[2] == 0 else "UTF-16LE" if start[1] == start[3] == 0 else None
    return None


def header(path: Path, dialect: Dialect, *, named: Path) -> list[str]:
    """Return the column names on the first line; raises ValueError if that is not a valid header."""
    with path.open(encoding="latin-1", newline=None) as file:
        _, lines, whole = next(records(file, dialect, n_fields=None), (1, [""], True))
    first = "\n".join(lines).encode("latin-1").decode("utf-8-sig", "replace")
    names = dialect.split(first) if whole else None
    if not names or not first.strip():
        raise ValueError(
            f"{named}: line 1 is {first[:80]!r}, expected the header with the names of the columns; add it"
        )
    return check_names([name.strip() or f"column_{i}" for i, name in enumerate(names, start=1)], named)


def load(con: duckdb.DuckDBPyConnection, text: Text, keep: Keep, scratch: Path) -> Read:
    """Store the complete records of a text file and return an account of the others."""
    head = int(text.has_header)
    n_lines = count_lines(text.path)
    found = Repair()
    broken = _scan(con, text, text.path, keep) if n_lines else None
    if broken is None or (n_rows := _rows(con, keep.kept)) + broken.num_rows + head != n_lines:
        # records and lines differ: line ends are mixed, lines are blank, or quotes enclose line ends or never close
        copy = scratch / "repaired"
        found = repair(text.path, copy, text.dialect, n_fields=len(text.columns))
        broken = _scan(con, text, copy, keep)
        copy.unlink()
        n_rows = _rows(con, keep.kept)
    absent = np.array(found.absent, np.int64)
    lines = nth_line(np.concatenate([np.arange(1, 1 + head), broken["line"].to_numpy()]), absent)
    rejected = pa.concat_tables(
        [
            broken.set_column(0, "line", pa.array(lines[head:], pa.int64())),
            _rejected(
                [n for n, _ in found.broken], ["broken_quote"] * len(found.broken), [raw for _, raw in found.broken]
            ),
        ]
    )
    shifts = shifts_of(np.sort(np.concatenate([absent, lines])))
    return Read(n_rows, shifts, rejected, found.blank, not ends_with_line(text.path))


def _scan(con: duckdb.DuckDBPyConnection, text: Text, path: Path, keep: Keep) -> pa.Table:
    """Store the complete records of `path`, the text or its copy; return the broken ones, `line` being their number."""
    n_columns, dialect = len(text.columns), text.dialect
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(n_columns))
    quote = literal(dialect.quote or "")
    try:
        con.execute(
            keep.fill(
                f"""read_csv(
                  {literal(str(path))}, auto_detect = false, header = {text.has_header}, columns = {{{columns}}},
                  delim = {literal(dialect.delimiter)}, quote = {quote}, escape = {quote}, compression = 'none',
                  strict_mode = true, store_rejects = true, rejects_limit = 0, nullstr = '\x01',
                  max_line_size = 16777216)"""
            )
        )
    except duckdb.OperationalError:  # memory or disk, not the text
        raise
    except duckdb.Error as error:
        problem = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as delimited text: {problem}; check delimiter and quote") from error
    # a record can have several errors; the text of one after CRLF begins with the LF
    found = con.sql(
        """select max(line)::bigint as "record", min(error_type::varchar) as kind,
                  ltrim(any_value(csv_line), chr(10) || chr(13)) as raw, line_byte_position - 1 as start
           from reject_errors group by line_byte_position order by 1"""
    ).to_arrow_table()
    con.execute("drop table reject_errors; drop table reject_scans")
    kinds, raw = found["kind"].to_pylist(), found["raw"].to_pylist()
    for i, start in enumerate(found["start"].to_pylist()):
        if kinds[i] == "INVALID ENCODING":  # the reader replaces bytes by question marks, also some valid ones
            raw[i] = line_at(path, start)
    reasons = [REASONS.get(kind, kind.lower().replace(" ", "_")) for kind in kinds]
    n_fields = [len(dialect.split(text) or text.split(dialect.delimiter)) for text in raw]
    details = [f"{n} fields, expected {n_columns}" for n in n_fields]
    return _rejected(found["record"].to_pylist(), reasons, raw, details)


def line_at(path: Path, start: int) -> str:
    """Return the line that begins at a byte, or after the line end there; invalid UTF-8 is escaped as in \\xe9."""
    with path.open("rb") as file:
        file.seek(start)
        text = file.read(1 << 24).lstrip(b"\r\n")
    return as_text(re.split(rb"[\r\n]", text, maxsplit=1)[0])


def ends_with_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) in (b"\n", b"\r")


def _rejected(lines: list[int], reasons: list[str], raw: list[str], details: list[str] | None = None) -> pa.Table:
    """Return a table of rejected records; each reason has a fixed detail, unless `details` has a number of fields."""
    known = [DETAILS.get(reason, "") for reason in reasons]
    texts = [text or other for text, other in zip(known, details or known, strict=True)]
    return rejections(lines, reasons, texts, raw)


def _rows(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(con.execute(f"select count(*) from {relation}").fetchall()[0][0])
