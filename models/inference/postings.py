"""Inverted index from the values of a column to items: the cost of a filter is proportional to its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.inference.strings import Positions, Strings, arrays_of

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Postings:
    """Postings: items[ends[v - 1]:ends[v]] are the items with value number v, ascending."""

    values: Strings
    index: Positions
    ends: npt.NDArray[np.int64]  # (n_values,)
    items: Indices

    @classmethod
    def of(cls, arrays: Mapping[str, Array], name: str) -> Postings:
        """Rebuild postings from `arrays_of_postings`."""
        values = Strings.of(arrays, f"{name}.values")
        return cls(values, Positions(values), arrays[f"{name}.ends"], arrays[f"{name}.items"])

    def holding(self, values: Sequence[str]) -> Indices:
        """Return the items (m,), ascending, with any of the values; unknown values match no items."""
        found = [self.of_value(v) for v in {self.index.get(value) for value in values} - {None} if v is not None]
        if len(found) == 1:
            return found[0]
        return np.unique(np.concatenate([np.zeros(0, np.int32), *found]))

    def of_value(self, v: int) -> Indices:
        return self.items[self.ends[v - 1] if v else 0 : self.ends[v]]


def arrays_of_postings(name: str, cells: Sequence[Sequence[str]]) -> dict[str, Array]:
    """Return the arrays for `Postings.of`, from the values of each item."""
    pairs = sorted({(value.encode(), item) for item, held in enumerate(cells) for value in held})
    values = sorted({value for value, _ in pairs})
    number = {value: v for v, value in enumerate(values)}
    lengths = np.bincount([number[value] for value, _ in pairs], minlength=len(values))
    return {
        **arrays_of(f"{name}.values", [value.decode() for value in values]),
        f"{name}.ends": np.cumsum(lengths, dtype=np.int64),
        f"{name}.items": np.array([item for _, item in pairs], np.int32),
    }
