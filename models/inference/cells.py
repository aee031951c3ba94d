"""Approximate search in a large catalogue: items in cells of like vectors, of which a query looks into some.

An inverted file (Jégou, Douze, Schmid 2011) for inner products: cells are those of spherical k-means, and a query looks
into the cells whose centres, as long as their longest item, promise most, until they hold a share of the catalogue. The
share is the smallest that finds what the full search finds, measured on users. `packaging.cell_building` makes them, by
faiss; looking into them is pure numpy, so that serving needs nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cells:
    """items[ends[c - 1]:ends[c]] are those of cell c."""

    centres: Floats  # (c, d): directions, times the length of the longest item
    ends: npt.NDArray[np.int64]  # (c,)
    items: npt.NDArray[np.int32]  # (n,)
    share: float  # of the catalogue that a query looks into

    def spans(self, query: Floats, *, wanted: int) -> list[tuple[int, int]]:
        """From where to where in `items` it is worth looking, at least `wanted` places where there are so many."""
        order = np.argsort(-(self.centres @ query))
        starts = np.append(0, self.ends[:-1])
        sizes = (self.ends - starts)[order]
        enough = np.searchsorted(np.cumsum(sizes), max(wanted, self.share * len(self.items))) + 1
        chosen = order[:enough]
        return list(zip(starts[chosen].tolist(), self.ends[chosen].tolist(), strict=True))

    def places(self, query: Floats, *, wanted: int) -> npt.NDArray[np.int64]:
        """The same as positions (m,)."""
        return np.concatenate([np.arange(start, end) for start, end in self.spans(query, wanted=wanted)])

    def looked_at(self, query: Floats, scores: npt.NDArray[Any], *, wanted: int) -> npt.NDArray[Any]:
        """Of the scores (n,) those that a search sees; -inf for the rest."""
        items = self.items[self.places(query, wanted=wanted)]
        looked = np.full_like(scores, -np.inf)
        looked[items] = scores[items]
        return looked
