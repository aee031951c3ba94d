"""Approximate search in a large catalogue: items in cells of like vectors, of which a query looks into some.

An inverted file (Jégou, Douze, Schmid 2011) for inner products: cells are those of spherical k-means, and a query looks
into the cells whose centres, as long as their longest item, promise most, until they hold a share of the catalogue. The
share is the smallest that finds what the full search finds, measured on users. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

PASSES = 8
SAMPLE = 64  # vectors per cell that k-means looks at
BLOCK = 2**14  # vectors assigned at a time


@dataclass(frozen=True)
class Cells:
    """items[ends[c - 1]:ends[c]] are those of cell c."""

    centres: Floats  # (c, d): directions, times the length of the longest item
    ends: npt.NDArray[np.int64]  # (c,)
    items: npt.NDArray[np.int32]  # (n,)
    share: float  # of the catalogue that a query looks into

    def places(self, query: Floats, *, wanted: int) -> npt.NDArray[np.int64]:
        """Positions in `items` (m,) that are worth looking at, at least `wanted` where there are so many."""
        order = np.argsort(-(self.centres @ query))
        starts = np.concatenate([[0], self.ends[:-1]])
        sizes = (self.ends - starts)[order]
        enough = np.searchsorted(np.cumsum(sizes), max(wanted, self.share * len(self.items))) + 1
        chosen = order[:enough]
        return np.concatenate([np.arange(starts[c], self.ends[c]) for c in chosen])


def build(vectors: Floats, *, n_cells: int, rng: np.random.Generator) -> Cells:
    """Cells of vectors (n, d), to be looked into as a whole until a share is chosen."""
    lengths = np.linalg.norm(vectors, axis=1)
    sample = rng.choice(len(vectors), min(len(vectors), SAMPLE * n_cells), replace=False)
    points = directions(vectors[sample])
    centres = points[:n_cells].copy()
    for _ in range(PASSES):
        nearest = assign(points, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, points)
        lost = ~np.isin(np.arange(len(centres)), nearest)
        sums[lost] = points[rng.choice(len(points), int(lost.sum()))]
        centres = directions(sums)
    cell = np.concatenate(
        [assign(directions(vectors[start : start + BLOCK]), centres) for start in range(0, len(vectors), BLOCK)]
    )
    longest = np.zeros(len(centres), np.float32)
    np.maximum.at(longest, cell, lengths)
    items = np.argsort(cell, kind="stable").astype(np.int32)
    return Cells(centres * longest[:, None], np.cumsum(np.bincount(cell, minlength=len(centres))), items, share=1.0)


def directions(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def assign(points: Floats, centres: Floats) -> npt.NDArray[np.int64]:
    """The cell (m,) whose centre is nearest in direction."""
    return np.concatenate(
        [(points[start : start + BLOCK] @ centres.T).argmax(axis=1) for start in range(0, len(points), BLOCK)]
    )


def smallest_share(recall: Callable[[float], float], *, target: float, shares: tuple[float, ...]) -> float | None:
    """The smallest of the shares, ascending, whose recall reaches the target; None where none does."""
    return next((share for share in shares if recall(share) >= target), None)
