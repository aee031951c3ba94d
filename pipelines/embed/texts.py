"""Column of item texts of any length: keys of the texts, equal texts and empty texts."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.inference.encoder.tokens import clean
from pipelines.embed.cache import Rows, keys_of

Column: TypeAlias = "pa.ChunkedArray[Any]"
CHUNK = 1 << 16  # texts at once as Python strings


class Texts:
    """Texts: keys (n, 2); first (n,): for each row the first one with the same text; empty (n,); characters (n,)."""

    def __init__(self, column: Column) -> None:
        self.column = as_text(column)
        slices = (self.column.slice(start, CHUNK).to_pylist() for start in range(0, len(self.column), CHUNK))
        self.keys = np.concatenate([np.zeros((0, 2), np.uint64), *(keys_of(map(str, part)) for part in slices)])
        self.first = first_of_equals(self.keys)
        self.characters = lengths(self.column)
        self.empty = lengths(pc.utf8_trim_whitespace(self.column)) == 0

    def __len__(self) -> int:
        return len(self.column)

    def distinct(self) -> Rows:
        """Return a row of each distinct text that is not empty, in the order of keys."""
        rows = np.flatnonzero((self.first == np.arange(len(self))) & ~self.empty)
        return rows[np.argsort(self.keys[rows, 0])]

    def repeated(self) -> Rows:
        """Return the rows whose text occurs in an earlier row."""
        return np.flatnonzero((self.first != np.arange(len(self))) & ~self.empty)

    def take(self, rows: Rows) -> list[str]:
        return [str(text) for text in self.column.take(rows).to_pylist()]


def as_text(column: Column) -> Column:
    """Return the column without nulls, with values of other types converted to text."""
    if pa.types.is_string(column.type):
        large = column.cast(pa.large_string())  # no bound at 2 GB
        return cast(Column, pc.fill_null(large, pa.scalar("", pa.large_string())))
    return pa.chunked_array([pa.array([clean(value) for value in column.to_pylist()], pa.large_string())])


def lengths(column: Column) -> npt.NDArray[np.int64]:
    """Return the number of characters of each text, (n,)."""
    return cast("npt.NDArray[np.int64]", np.asarray(pc.utf8_length(column).to_numpy(), np.int64))


def first_of_equals(keys: npt.NDArray[np.uint64]) -> Rows:
    """Return for each row the first one with the same key, (n,)."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: the first of equal rows stays first
    ordered = keys[order]
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(1)
    first = np.empty(len(keys), np.intp)
    first[order] = order[begins][np.cumsum(begins) - 1]
    return first
