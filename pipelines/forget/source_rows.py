"""Rows of one user in the source files: found, and removed by rewriting the files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipelines.artifacts import outputs
from pipelines.ingest.formats import known
from pipelines.ingest.formats.format import File
from pipelines.ingest.sources import movielens, table
from pipelines.privacy import modes
from pipelines.settings.ingest import Ingest


@dataclass(frozen=True)
class Source:
    """A source file, and its column of users."""

    file: File
    column: str


def sources(params: Ingest) -> list[Source]:
    """Return the files with a column of users."""
    if params.source == "demo" or params.url is not None:
        return []
    path = Path(params.path)
    if params.source == "table":
        files = table.files_of(path, params.table)
        columns = zip(("interactions", "users"), user_columns(params), strict=True)
        return [Source(file, column) for kind, column in columns for file in files[kind]]
    release = movielens.find(path)
    return [Source(release.file(kind), "userId") for kind in ("ratings", "tags", "users") if release.has(kind)]


def user_columns(params: Ingest) -> tuple[str, str]:
    """Return the columns of users in files of interactions, and of users."""
    return params.table.columns.user_id, params.table.user_columns.user_id


def rewrite(source: Source, user_id: str, *, dry: bool) -> bool:
    """Return whether a source file mentions a user; unless `dry`, rewrite it without the user's rows."""
    path = source.file.path
    partial = path.with_name(f".{path.name}.partial")
    try:
        target = modes.file(partial, 0o600)
        found = known.of(path).without_user(source.file, source.column, user_id, target)
        shutil.copymode(path, partial)
        if found and not dry:
            outputs.sync(partial)
            partial.replace(path.resolve())
        return found
    finally:
        partial.unlink(missing_ok=True)
