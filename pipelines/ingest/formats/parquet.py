"""Parquet: rows are queried in the file itself, with the types of its columns."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.artifacts.tables import ROWS
from pipelines.ingest.formats.format import (
    NO_SHIFTS,
    NOTHING_REJECTED,
    File,
    Keep,
    Opened,
    Read,
    Search,
    check_names,
    joined,
)
from pipelines.ingest.formats.records import Dialect
from pipelines.runtime.sql import identifier, literal

SUFFIXES: tuple[str, ...] = (".parquet",)
NAMING = ("user_id", "raw", "detail")  # the columns of our tables that can name a user
SEARCHED = 1 << 16  # rows at a time


def open_file(con: duckdb.DuckDBPyConnection, file: File, scratch: Path) -> Opened:
    """Return the columns of a file, after a check of its pages."""
    path = file.path
    try:
        names = check_names(pq.read_schema(path).names, path)
        verify_pages(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is not a valid parquet file ({error}); write or fetch it again") from error
    fields = ", ".join(f"{identifier(column)} as c{i}" for i, column in enumerate(names))
    scan = f"read_parquet({literal(str(path))}, file_row_number = true)"
    relation = f"(select file_row_number + 1 as line, {fields} from {scan})"
    described = con.execute(f"describe from {relation}").fetchall()[1:]
    types = {column: str(row[1]) for column, row in zip(names, described, strict=True)}

    def fill(keep: Keep) -> Read:
        con.execute(keep.fill(f"(select * exclude (line) from {relation})"))
        n_rows = int(con.execute(f"select count(*) from {keep.kept}").fetchall()[0][0])
        return Read(n_rows, NO_SHIFTS, NOTHING_REJECTED, 0, is_unfinished=False)

    return Opened(types, joined(len(names), Dialect(",", '"')), fill, relation, path)


def verify_pages(path: Path) -> None:
    """Read a parquet file once; raises OSError if a page does not match its checksum, if it has one."""
    file = pq.ParquetFile(path, page_checksum_verification=True)
    for _ in file.iter_batches(ROWS):
        pass


def without_user(file: File, column: str, user_id: str, target: Path) -> bool:
    found = False
    source = pq.ParquetFile(file.path)
    with pq.ParquetWriter(target, source.schema_arrow, write_page_checksum=True) as writer:
        for batch in source.iter_batches():
            ids = batch[column].cast(pa.string())
            others = [value != user_id for value in ids.to_pylist()]
            found = found or not all(others)
            writer.write_batch(batch.filter(others))
    return found


def mentions(words: str, columns: Collection[str], file: BinaryIO) -> bool:
    """Search the columns of users, and those of our tables; other columns may mean anything."""
    table = pq.ParquetFile(file)
    searched = [name for name in table.schema_arrow.names if name in (*NAMING, *columns)]
    return any(
        pc.any(pc.match_substring_regex(column.cast(pa.string()), words)).as_py()
        for batch in (table.iter_batches(SEARCHED, columns=searched) if searched else ())
        for column in batch.columns
    )


SEARCHES: tuple[Search, ...] = (Search(b"PAR1", mentions),)
