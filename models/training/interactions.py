"""Training data: distinct (user, item) pairs, and the same pairs grouped by the rows of one side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

PAIRS_AT_A_TIME = 1 << 22  # bounds the memory of the checks


@dataclass(frozen=True)
class Interactions:
    """Distinct (user, item) pairs sorted by user, then item."""

    user_idx: npt.NDArray[np.int32]
    item_idx: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]  # c_ui > 0; `np.broadcast_to(np.float32(1), n)` takes no memory
    n_users: int
    n_items: int

    def __post_init__(self) -> None:
        """Raise ValueError for invalid pairs or weights."""
        n = len(self.user_idx)
        if n == 0:
            raise ValueError("there are 0 training interactions, expected at least 1; look at the split's shares")
        if not n == len(self.item_idx) == len(self.weights):
            raise ValueError(f"{n} users, {len(self.item_idx)} items and {len(self.weights)} weights make no pairs")
        for name, idx, size in (("user_idx", self.user_idx, self.n_users), ("item_idx", self.item_idx, self.n_items)):
            if idx.min() < 0 or idx.max() >= size:
                raise ValueError(
                    f"{name} spans {idx.min()}..{idx.max()}, expected 0..{size - 1}; run `dvc repro split`"
                )
        for span in spans(n):
            before = slice(max(span.start - 1, 0), span.stop)  # one more, to compare adjacent spans
            users, items = self.user_idx[before], self.item_idx[before]
            if not ((users[1:] > users[:-1]) | ((users[1:] == users[:-1]) & (items[1:] > items[:-1]))).all():
                raise ValueError("the pairs are not distinct and sorted by (user_idx, item_idx); run `dvc repro split`")
            weights = self.weights[span]
            if not (np.isfinite(weights) & (weights > 0)).all():
                raise ValueError(
                    "an interaction's weight is not a positive finite number; look at `value` in the input"
                )

    def unweighted(self) -> bool:
        """Return whether all weights are 1."""
        return all(bool((self.weights[span] == 1).all()) for span in spans(len(self.weights)))


def spans(n: int) -> Iterator[slice]:
    """Yield consecutive slices of n pairs."""
    for start in range(0, n, PAIRS_AT_A_TIME):
        yield slice(start, min(start + PAIRS_AT_A_TIME, n))


@dataclass(frozen=True)
class Grouped:
    """The pairs grouped by the rows of one side: users, or items. 4 bytes per pair, 8 with weights."""

    indptr: Tensor  # int64 (n_rows + 1): row r has the pairs indptr[r] .. indptr[r + 1]
    columns: Tensor  # int32 (pairs,), ascending in a row
    weights: Tensor | None  # float32 (pairs,); None: all are 1

    @property
    def counts(self) -> Tensor:
        """Return the number of pairs per row, int64 (n_rows,)."""
        return self.indptr.diff()

    def to(self, device: torch.device) -> Grouped:
        weights = None if self.weights is None else self.weights.to(device)
        return Grouped(self.indptr.to(device), self.columns.to(device), weights)


def counts(interactions: Interactions) -> tuple[Tensor, Tensor]:
    """Return the number of pairs per user (n_users,) and per item (n_items,), int64."""
    users = _occurrences(interactions.user_idx, interactions.n_users)
    return torch.from_numpy(users), torch.from_numpy(_occurrences(interactions.item_idx, interactions.n_items))


def _occurrences(idx: npt.NDArray[np.int32], n: int) -> npt.NDArray[np.int64]:
    """Return how often each of 0 .. n - 1 occurs."""
    total = np.zeros(n, np.int64)
    for span in spans(len(idx)):
        total += np.bincount(idx[span], minlength=n)
    return total


def by_user(interactions: Interactions, users: slice) -> Grouped:
    """Group the pairs of consecutive users, on the CPU."""
    begin, end = np.searchsorted(interactions.user_idx, np.array([users.start, users.stop], np.int32))
    lengths = _occurrences(interactions.user_idx[begin:end], interactions.n_users)[users]
    weights = None if interactions.unweighted() else interactions.weights[begin:end]
    return _grouped(np.concatenate([[0], np.cumsum(lengths)]), interactions.item_idx[begin:end], weights)


def by_item(interactions: Interactions, items: slice) -> Grouped:
    """Group the pairs of consecutive items, on the CPU. Time and memory are linear in the pairs."""
    lengths, columns, weights = _of_items(interactions, items)
    # scipy requires values; without weights, values of the smallest type
    values: npt.NDArray[Any] = np.ones(len(columns), np.int8) if weights is None else weights
    # of the columns' type if it fits, otherwise scipy copies the columns
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32 if len(columns) < 2**31 else np.int64)
    table = csr_array((values, columns, indptr), shape=(interactions.n_users, items.stop - items.start))
    del values, columns
    turned = table.tocsc()
    return _grouped(turned.indptr, turned.indices, None if weights is None else turned.data)


def _of_items(
    interactions: Interactions, items: slice
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32] | None]:
    """Return pairs of these items per user, items counted from `items.start`, and weights, None if all are 1."""
    n_users, plain = interactions.n_users, interactions.unweighted()
    if items == slice(0, interactions.n_items):  # no copies
        weights = None if plain else interactions.weights
        return _occurrences(interactions.user_idx, n_users), interactions.item_idx, weights
    columns, chosen, lengths = [], [], np.zeros(n_users, np.int64)
    for span in spans(len(interactions.item_idx)):
        own = (interactions.item_idx[span] >= items.start) & (interactions.item_idx[span] < items.stop)
        lengths += np.bincount(interactions.user_idx[span][own], minlength=n_users)
        columns.append(interactions.item_idx[span][own] - np.int32(items.start))
        chosen.append(interactions.weights[:0] if plain else interactions.weights[span][own])
    return lengths, np.concatenate(columns), None if plain else np.concatenate(chosen)


def _grouped(indptr: npt.NDArray[Any], columns: npt.NDArray[Any], weights: npt.NDArray[Any] | None) -> Grouped:
    return Grouped(
        torch.from_numpy(np.require(indptr, np.int64, ["C", "W"])),
        torch.from_numpy(np.require(columns, np.int32, ["C", "W"])),
        None if weights is None else torch.from_numpy(np.require(weights, np.float32, ["C", "W"])),
    )
