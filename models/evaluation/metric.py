"""A metric: the functions that compute it, and its properties for rules and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Lists = npt.NDArray[np.int32]  # (n_users, k) item indices, best first, padded with -1
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.integer[Any]]
Indices = npt.NDArray[np.integer[Any]]
Sparse = csr_array[Any]


@dataclass(frozen=True)
class Catalogue:
    """Properties of the items that metrics need, all (n_items,)."""

    users_of_item: Indices  # distinct train users
    is_tail: Bools
    is_cold: Bools
    n_users: int  # train users in all


@dataclass(frozen=True)
class Judged:
    """Lists of all evaluated users, and everything that metrics compare them with."""

    lists: Lists  # (n_users, K)
    catalogue: Catalogue
    hits: Bools  # (n_users, K): ranks with a relevant item, ...
    n_relevant: Counts  # ... and the number of relevant items (n_users,)
    tail_hits: Bools
    n_tail: Counts
    cold_hits: Bools
    n_cold: Counts
    hits_among_cold: Bools  # of lists that rank cold items only
    histories: Sparse | None = None  # (n_users, n_items), input of the models
    embeddings: npt.NDArray[np.floating[Any]] | None = None  # (n_items, t), unit vectors of texts


@dataclass(frozen=True)
class Metric:
    """A mean over users (`of_users`), or a figure of all lists together."""

    kind: Literal["accuracy", "tail"]
    says: str  # description in a line
    higher_is_better: bool = True
    unit: str = ""  # "" for shares
    by_holdout: bool = False  # the holdout, not the lists, decides which users have a value
    lowest: float = 0.0
    highest: float = 1.0
    of_users: Callable[[Judged, int], Floats | None] | None = None  # (n_users,) at k; None without its input
    of_exposure: Callable[[Floats, Bools], Floats] | None = None  # of exposure (..., n_items) and is_tail (n_items,)
    without_each: Callable[[Lists, Counts, Bools], Floats] | None = None  # `of_exposure` without each user, (n_users,)
    covers: Callable[[Bools], Bools] | None = None  # from is_tail: the items that a coverage counts, (n_items,)

    @property
    def per_user(self) -> bool:
        return self.of_users is not None


def defined(values: Floats, n_relevant: Counts) -> Floats:
    return np.where(n_relevant > 0, values, np.nan)


def ratio(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> Floats:
    """numerator / denominator by element, NaN if the denominator is not positive."""
    undefined = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), np.nan)
    quotient: Floats = np.divide(numerator, denominator, out=undefined, where=denominator > 0)
    return quotient
