"""Rows of one user in the source files: found, and removed by rewriting the files."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts import outputs
from pipelines.forget.search import Traces
from pipelines.ingest.formats import delimited
from pipelines.ingest.formats.records import Dialect, records
from pipelines.ingest.sources import movielens, table
from pipelines.privacy import modes
from pipelines.settings.ingest import Ingest


@dataclass(frozen=True)
class Source:
    """A source file: its text dialect, and its column of users."""

    path: Path
    dialect: Dialect
    column: str
    names: list[str] | None = None


def sources(params: Ingest) -> list[Source]:
    """Return the files with a column of users."""
    if params.source == "demo" or params.url is not None:
        return []
    path = Path(params.path)
    if params.source == "table":
        files = table.files_of(path, params.table)
        columns = {"interactions": params.table.columns.user_id, "users": params.table.user_columns.user_id}
        return [Source(file.path, file.dialect, column) for kind, column in columns.items() for file in files[kind]]
    release = movielens.find(path)
    dat = release.suffix == ".dat"
    return [
        Source(
            release.path(kind),
            Dialect("::", None) if dat else Dialect(",", '"'),
            "userId",
            movielens.COLUMNS[kind] if dat else None,
        )
        for kind in ("ratings", "tags", "users")
        if release.has(kind)
    ]


def rewrite(source: Source, user_id: str, *, dry: bool) -> bool:
    """Return whether a source file mentions a user; unless `dry`, rewrite it without the user's rows."""
    partial = source.path.with_name(f".{source.path.name}.partial")
    try:
        write = rewrite_parquet if source.path.suffix == ".parquet" else rewrite_text
        found = write(source, user_id, modes.file(partial, 0o600))
        shutil.copymode(source.path, partial)
        if found and not dry:
            outputs.sync(partial)
            partial.replace(source.path.resolve())
        return found
    finally:
        partial.unlink(missing_ok=True)


def rewrite_parquet(source: Source, user_id: str, target: Path) -> bool:
    found = False
    file = pq.ParquetFile(source.path)
    with pq.ParquetWriter(target, file.schema_arrow, write_page_checksum=True) as writer:
        for batch in file.iter_batches():
            ids = batch[source.column].cast(pa.string())
            others = [value != user_id for value in ids.to_pylist()]
            found = found or not all(others)
            writer.write_batch(batch.filter(others))
    return found


def rewrite_text(source: Source, user_id: str, target: Path) -> bool:
    """Write a text file without the user's records, malformed ones included; others keep all bytes but line ends."""
    found = False
    words = re.compile(Traces([user_id]).words)
    with TemporaryDirectory(dir=source.path.parent, prefix=".forget-") as scratch:
        text = delimited.open_text(source.path, source.dialect, names=source.names, scratch=Path(scratch))
        place = text.columns.index(source.column)
        packed = delimited.PACKED.get(source.path.suffix)
        with (
            text.path.open(encoding="latin-1", newline=None) as file,
            pa.output_stream(str(target), compression=packed or "detect") as output,
        ):
            for number, lines, whole in records(file, source.dialect, n_fields=len(text.columns)):
                record = "\n".join(lines)
                readable = record.encode("latin-1").decode("utf-8", "backslashreplace")
                fields = source.dialect.split(readable) if whole else None
                if number > int(text.has_header) or not text.has_header:
                    exact = fields is not None and len(fields) == len(text.columns)
                    if fields[place] == user_id if exact and fields else words.search(readable):
                        found = True
                        continue
                output.write(f"{record}\n".encode("latin-1"))
    return found
