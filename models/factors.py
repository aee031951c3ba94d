"""The model that is served: item vectors, and what turns any history into a user vector.

Users are never stored: a user is computed from a history, so known users, new users and new events all take the same
path. Whatever was trained, a score is an inner product, so that the rest of the pipeline never knows which model it is.
Pure numpy, so that serving needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from models.packing import pack, unpack
from models.reranking import Rerank
from models.user_side import Floats, Indices, ItemSide, Layer, LeastSquares, Pooling, UserSide


@dataclass(frozen=True)
class Factors:
    """Item and user side of a recommender for `n` items, `d` dimensions, `t` text dimensions.

    Several user sides share out the dimensions in their order, and their scores add up.
    """

    item_factors: Floats  # (n, d); the factor of an item without interactions is what its text predicts
    gram: Floats  # (d, d): sum of y yᵀ over items with interactions
    n_warm_items: int
    users: tuple[UserSide, ...]
    popularity_bias: Floats  # (n,): log(1 + train users) / log(1 + largest), in [0, 1]
    tail_strength: float  # how much popularity_bias counts against an item
    text_mean: Floats  # (t,)
    text_weights: Floats  # (t + 1, d), last row the intercept; t = 0 where training used no text
    rerank: Rerank | None = None  # how lists are made of scores; None: in their order

    def __post_init__(self) -> None:
        """Raises ValueError where the user sides do not fill the dimensions."""
        dims = [side.dim for side in self.users]
        if sum(dims) != self.item_factors.shape[1]:
            raise ValueError(f"the user sides have {dims} dimensions, the items {self.item_factors.shape[1]} in all")

    def sides(self) -> Iterator[tuple[UserSide, ItemSide, slice]]:
        """Each user side with the items it is scored against, and where it stands in the user vector."""
        yield from self._sides

    @cached_property
    def _sides(self) -> list[tuple[UserSide, ItemSide, slice]]:
        found: list[tuple[UserSide, ItemSide, slice]] = []
        start = 0
        for side in self.users:
            span = slice(start, start := start + side.dim)
            eigenvalues, basis = np.linalg.eigh(self.gram[span, span].astype(np.float64))
            items = ItemSide(self.item_factors[:, span], np.maximum(eigenvalues, 0), basis, self.n_warm_items)
            found.append((side, items, span))
        return found

    def fold_in(
        self, histories: Sequence[Indices], weights: Sequence[npt.NDArray[np.floating[Any]]] | None = None
    ) -> Floats:
        """User vectors (len(histories), d) of lists of item indices, optionally weighted; zero for an empty history."""
        users = np.zeros((len(histories), self.item_factors.shape[1]), np.float32)
        for row, history in enumerate(histories):
            if len(history) == 0:
                continue
            w = np.ones(len(history)) if weights is None else np.asarray(weights[row], np.float64)
            for side, items, span in self.sides():
                users[row, span] = side.fold_in(items, history, w)
        return users

    def queries(self, users: Floats) -> Floats:
        """User vectors (b, d + 1) whose inner product with `item_vectors` is the score.

        The penalty is counted in the root mean square of the user's own scores, so that one strength suits all users
        and does not depend on how a factorization divides scale between users and items.
        """
        return np.hstack([users, -self.tail_strength * self.spread(users)[:, None]]).astype(np.float32)

    def spread(self, users: Floats) -> npt.NDArray[np.float64]:
        """Root mean square of each user's scores over items with interactions, (b,)."""
        mean_squares = np.einsum("bd,de,be->b", users, self.gram, users, optimize=True) / max(self.n_warm_items, 1)
        return np.asarray(np.sqrt(np.maximum(mean_squares, 0)), np.float64)

    def item_vectors(self) -> Floats:
        """Item vectors (n, d + 1): factor, then popularity bias."""
        return np.hstack([self.item_factors, self.popularity_bias[:, None]]).astype(np.float32)

    def anchors(self, embeddings: Floats) -> Floats:
        """Factors (m, d) that text alone predicts for embeddings (m, t); a zero row (no text) gets the average one."""
        if self.text_mean.size == 0:
            return np.zeros((len(embeddings), self.item_factors.shape[1]), np.float32)
        centred = np.where(np.any(embeddings != 0, axis=1, keepdims=True), embeddings - self.text_mean, 0)
        anchors: Floats = (centred @ self.text_weights[:-1] + self.text_weights[-1]).astype(np.float32)
        return anchors

    def to_tensors(self) -> tuple[dict[str, npt.NDArray[Any]], Any]:
        """Arrays, and a JSON tree of the rest, for a file format that keeps the two apart."""
        return pack(self)

    @classmethod
    def from_tensors(cls, arrays: dict[str, npt.NDArray[Any]], tree: Any) -> Factors:
        """Inverse of `to_tensors`; raises ValueError where a part is missing or unknown."""
        try:
            model = unpack(arrays, tree, {kind.__name__: kind for kind in KINDS})
        except ValueError as error:
            raise ValueError(f"this is no model of this version: {error}; run `dvc repro train`") from None
        if not isinstance(model, Factors):
            raise ValueError("this is no model of this version: it has no factors; run `dvc repro train`")
        return model


KINDS = (Factors, LeastSquares, Pooling, Layer, Rerank)
