"""Parquet tables with page checksums, schemas of the canonical tables, and small CSV tables for plots."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_interactions: list[pa.Field[Any]] = [
    pa.field("user_id", pa.string(), nullable=False),
    pa.field("item_id", pa.string(), nullable=False),
    pa.field("value", pa.float32(), nullable=False),
    pa.field("timestamp", pa.timestamp("us", tz="UTC")),  # of the first event with a known time
    pa.field("n_events", pa.int32(), nullable=False),  # input rows merged into this pair
]
_items: list[pa.Field[Any]] = [  # further columns of the source follow
    pa.field("item_id", pa.string(), nullable=False),
    pa.field("title", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
]
_users: list[pa.Field[Any]] = [  # further columns of the source follow, as text
    pa.field("user_id", pa.string(), nullable=False),
]
_rejected: list[pa.Field[Any]] = [
    pa.field("file", pa.string(), nullable=False),
    pa.field("line", pa.int64(), nullable=False),  # 1 is the first line of the file, also if it is the header
    pa.field("reason", pa.string(), nullable=False),  # a short code such as value_not_a_number
    pa.field("detail", pa.string(), nullable=False),  # the value found and the value expected
    pa.field("raw", pa.string()),
]
ROWS = 122_880  # of a row group: DuckDB's own, so that its batches pass unchanged
FORMULA = re.compile(r"'*[=+\-@\t\r]")  # the start of a text that a spreadsheet evaluates
INTERACTIONS, ITEMS = pa.schema(_interactions), pa.schema(_items)
USERS, REJECTED = pa.schema(_users), pa.schema(_rejected)


def write(table: pa.Table | pa.RecordBatchReader, path: Path) -> int:
    """Write a table, or a stream of batches in bounded memory; return the number of rows."""
    rows = 0
    batches = table.to_reader() if isinstance(table, pa.Table) else table
    alike = [field.name for field in batches.schema if not pa.types.is_timestamp(field.type)]  # times rarely repeat
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": alike, "write_page_checksum": True}
    with pq.ParquetWriter(path, batches.schema, **options) as writer:
        for batch in ahead(batches):
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def ahead(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the same batches; another thread computes each while the one before it is in use."""
    coming = iter(batches)
    with ThreadPoolExecutor(1) as thread:
        batch = thread.submit(next, coming, None)
        while (now := batch.result()) is not None:
            batch = thread.submit(next, coming, None)
            yield now


def even(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatchReader:
    """Yield the same rows in batches of ROWS, columns by position, so that files do not depend on the engine."""

    def cut() -> Iterator[pa.RecordBatch]:
        rest = schema.empty_table()
        for batch in batches:
            rest = pa.concat_tables([rest, pa.Table.from_batches([batch]).rename_columns(schema.names).cast(schema)])
            while rest.num_rows >= ROWS:
                yield from rest.slice(0, ROWS).combine_chunks().to_batches()
                rest = rest.slice(ROWS)
        yield from rest.combine_chunks().to_batches()

    return pa.RecordBatchReader.from_batches(schema, cut())


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a table and verify the checksums of its pages."""
    return pq.read_table(path, columns=columns, page_checksum_verification=True)


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of equal keys as they arrive, so that a long run can be followed; NaN becomes an empty field.

    A text that a spreadsheet would evaluate as a formula gets an apostrophe before it.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow({key: "" if value != value else harmless(value) for key, value in row.items()})
            file.flush()


def harmless(value: Any) -> Any:
    """Return a cell that is safe in a spreadsheet; numbers, also those written as text, stay unchanged."""
    if not isinstance(value, str) or not FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def read_csv(path: Path) -> dict[str, list[str]]:
    """Read the columns of such a table by name, as the original text."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [as_it_was(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def as_it_was(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
