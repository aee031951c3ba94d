"""The model that is served: item vectors, and what turns any history into a user vector.

Users are never stored: a user is computed from a history, so known users, new users and new events all take the same
path. Whatever was trained, a score is an inner product, so that the rest of the pipeline never knows which model it is.
Pure numpy, so that serving needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from models.inference.cold_level import POPULAR, ColdLevel
from models.inference.packing import pack, unpack
from models.inference.reranking import Rerank
from models.inference.text_neighbours import Neighbours
from models.inference.user_side import Floats, Indices, ItemSide, Layer, LeastSquares, Pooling, UserSide


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
    text_mean: Floats  # (t,)
    text_weights: Floats  # (t + 1, d), last row the intercept; t = 0 where training used no text
    neighbours: Neighbours | None = None  # what text predicts beyond the linear map; None: nothing
    cold: ColdLevel | None = None  # how items without interactions compete with others; None: by their score alone
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
            found.append(
                (side, ItemSide.of(self.item_factors[:, span], self.gram[span, span], self.n_warm_items), span)
            )
        return found

    def in_eigenbasis(self) -> Factors:
        """The same scores, with the dimensions turned so that folding in need not turn the factors of a history."""
        turn = np.eye(self.item_factors.shape[1], dtype=np.float32)
        for side, items, span in self.sides():
            if isinstance(side, LeastSquares) and items.basis is not None:
                turn[span, span] = items.basis
        gram = (turn.T @ self.gram @ turn).astype(np.float32)
        for side, items, span in self.sides():
            if isinstance(side, LeastSquares):
                gram[span, span] = np.diag(items.eigenvalues)
        return replace(
            self,
            item_factors=self.item_factors @ turn,
            gram=gram,
            text_weights=self.text_weights @ turn,
            cold=self.cold.turned(turn) if self.cold else None,
        )

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
        """User vectors (b, d + 1) whose inner product with `item_vectors` is the score."""
        return np.hstack([users, self.cold_bonus(users)[:, None]]).astype(np.float32)

    def cold_bonus(self, users: Floats) -> npt.NDArray[np.float64]:
        """What the items of `cold` gain with users (b, d), (b,)."""
        return np.zeros(len(users)) if self.cold is None else self.cold.bonus(users, self.popular)

    @cached_property
    def popular(self) -> Floats:
        """Factors (m, d) of the most popular items, ties in order of the item index."""
        touched = int((self.popularity_bias > 0).sum())
        order = np.argsort(-self.popularity_bias, kind="stable")[: min(POPULAR, self.n_warm_items, touched)]
        return self.item_factors[order]

    def item_vectors(self) -> Floats:
        """Item vectors (n, d + 1): factor, and whether the item gets the bonus of cold ones."""
        return np.hstack([self.item_factors, self.anchored[:, None]])

    @property
    def anchored(self) -> Floats:
        """1 for items that get the bonus of cold ones, else 0, (n,)."""
        none = np.zeros(len(self.item_factors), np.float32)
        return none if self.cold is None else self.cold.anchored.astype(np.float32)

    def anchors(self, embeddings: Floats, *, apart_from: Indices | None = None) -> Floats:
        """Factors (m, d) that text alone predicts for embeddings (m, t); a zero row (no text) gets the average one.

        apart_from: (m,) the items whose texts they are, where these shall not speak for themselves.
        """
        if self.text_mean.size == 0:
            return np.zeros((len(embeddings), self.item_factors.shape[1]), np.float32)
        has_text = np.any(embeddings != 0, axis=1, keepdims=True)
        centred = np.where(has_text, embeddings - self.text_mean, 0).astype(np.float32)
        anchors: Floats = centred @ self.text_weights[:-1] + self.text_weights[-1]
        if self.neighbours is not None:
            for part, positions, weights in self.neighbours.near(centred, apart_from):
                used, where = np.unique(positions, return_inverse=True)
                residuals = self.item_factors[self.neighbours.rows[used]] - self.text_weights[-1]
                residuals -= self.neighbours.centred(used) @ self.text_weights[:-1]
                found = residuals[where.reshape(positions.shape)]  # (b, m, d)
                anchors[part] += has_text[part] * np.einsum("bm,bmd->bd", weights, found)
        return anchors.astype(np.float32)

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


KINDS = (Factors, LeastSquares, Pooling, Layer, Rerank, Neighbours, ColdLevel)
