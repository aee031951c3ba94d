"""The known formats of source files: a new one is a module of this folder and an entry here."""

from __future__ import annotations

from pathlib import Path

from pipelines.ingest.formats import delimited, parquet
from pipelines.ingest.formats.format import Format

FORMATS: tuple[Format, ...] = (delimited, parquet)


def of(path: Path) -> Format:
    """Return the format of a file by its name; raises ValueError if it is unknown."""
    for known in FORMATS:
        if path.name.endswith(known.SUFFIXES):
            return known
    suffixes = " ".join(suffix for known in FORMATS for suffix in known.SUFFIXES)
    raise ValueError(f"{path} has an unknown format, expected one of {suffixes}; rename or convert it")
