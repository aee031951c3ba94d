"""How many nearest neighbours a cheaper encoder keeps: what search by its vectors has in common with the exact one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def overlap(exact: Floats, other: Floats, catalogue: Floats, *, k: int = 10) -> float:
    """Mean share of the k items nearest to `exact` (b, t) that are also among the k nearest to `other` (b, t).

    catalogue: unit vectors (n, t); an item that is exactly the one asked with is nobody's neighbour. 1 where the
    catalogue has no more than k items, since there is nothing to choose.
    """
    if len(catalogue) <= k + 1:
        return 1.0
    itself = exact @ catalogue.T > 1 - 1e-5  # (b, n)
    nearest = [
        np.argpartition(-np.where(itself, -np.inf, vectors @ catalogue.T), k - 1, axis=1)[:, :k]
        for vectors in (exact, other)
    ]
    return float(np.mean([len(np.intersect1d(*pair)) / k for pair in zip(*nearest, strict=True)]))
