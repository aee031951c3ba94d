"""Interactions small enough to reason about."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from models.training.interactions import Interactions


def from_matrix(matrix: npt.NDArray[Any]) -> Interactions:
    """The pairs that are not zero in (n_users, n_items), the entries as weights."""
    users, items = np.nonzero(matrix)
    weights = matrix[users, items].astype(np.float32)
    return Interactions(users.astype(np.int32), items.astype(np.int32), weights, *matrix.shape)


def random_weights(n_users: int = 12, n_items: int = 9, *, cold: int = 0, seed: int = 0) -> npt.NDArray[np.float64]:
    """Weights (n_users, n_items), about half of them 0; every user has an item, the last `cold` items have no user."""
    rng = np.random.default_rng(seed)
    chosen = rng.random((n_users, n_items)) < 0.5
    chosen[:, 0] |= ~chosen[:, : n_items - cold].any(axis=1)
    chosen[0] |= ~chosen.any(axis=0)
    chosen[:, n_items - cold :] = False
    return np.where(chosen, rng.uniform(0.5, 2.0, chosen.shape), 0.0)


def histories(matrix: npt.NDArray[Any]) -> csr_array[Any]:
    return csr_array(matrix)
