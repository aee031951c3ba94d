"""Overlap of nearest neighbours between a cheaper encoder and the exact one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def overlap(exact: Floats, other: Floats, catalogue: Floats, *, k: int = 10) -> float:
    """Return the mean share of the k items nearest to `exact` (b, t) that are among the k nearest to `other` (b, t).

    catalogue: unit vectors (n, t); an item equal to the query is excluded. 1 if the catalogue has at most k items,
    since there is no choice.
    """
    if len(catalogue) <= k + 1:
        return 1.0
    itself = exact @ catalogue.T > 1 - 1e-5  # (b, n)
    nearest = [
        np.argpartition(-np.where(itself, -np.inf, vectors @ catalogue.T), k - 1, axis=1)[:, :k]
        for vectors in (exact, other)
    ]
    return float(np.mean([len(np.intersect1d(*pair)) / k for pair in zip(*nearest, strict=True)]))
