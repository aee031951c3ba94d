"""The served model: item vectors, and the fold-in of any history to a user vector.

Users are never stored: a user vector is computed from a history, so known users, new users and new events take the same
path. For every model family a score is an inner product, so the rest of the pipeline does not depend on the family.
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

    Several user sides split the dimensions in their order, and their scores add up.
    """

    item_factors: Floats  # (n, d); factors of items without interactions are predicted from text
    gram: Floats  # (d, d): sum of y yᵀ over items with interactions
    n_warm_items: int
    users: tuple[UserSide, ...]
    popularity_bias: Floats  # (n,): log(1 + train users) / log(1 + largest), in [0, 1]
    text_mean: Floats  # (t,)
    text_weights: Floats  # (t + 1, d), last row the intercept; t = 0 where training used no text
    neighbours: Neighbours | None = None  # correction of the linear text map; None: none
    cold: ColdLevel | None = None  # bonus of items without interactions; None: no bonus
    rerank: Rerank | None = None  # re-ranking of lists; None: in order of the scores

    def __post_init__(self) -> None:
        """Raise ValueError if the user sides' dimensions do not add up to the items'."""
        dims = [side.dim for side in self.users]
        if sum(dims) != self.item_factors.shape[1]:
            raise ValueError(f"the user sides have {dims} dimensions, the items {self.item_factors.shape[1]} in all")

    def sides(self) -> Iterator[tuple[UserSide, ItemSide, slice]]:
        """Yield each user side with its items, and its slice of the user vector."""
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
        """Return a model with the same scores, rotated so that fold-in need not rotate the factors of a history."""
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
        """Return user vectors (len(histories), d) of lists of item indices, optionally weighted; zero if empty."""
        users = np.zeros((len(histories), self.item_factors.shape[1]), np.float32)
        for row, history in enumerate(histories):
            if len(history) == 0:
                continue
            w = np.ones(len(history)) if weights is None else np.asarray(weights[row], np.float64)
            for side, items, span in self.sides():
                users[row, span] = side.fold_in(items, history, w)
        return users

    def queries(self, users: Floats) -> Floats:
        """Return user vectors (b, d + 1) such that the inner product with `item_vectors` is the score."""
        return np.hstack([users, self.cold_bonus(users)[:, None]]).astype(np.float32)

    def cold_bonus(self, users: Floats) -> npt.NDArray[np.float64]:
        """Return the bonus of cold items for users (b, d), (b,)."""
        return np.zeros(len(users)) if self.cold is None else self.cold.bonus(users, self.popular)

    @cached_property
    def popular(self) -> Floats:
        """Return the factors (m, d) of the most popular items, ties in order of the item index."""
        n_interacted = int((self.popularity_bias > 0).sum())
        order = np.argsort(-self.popularity_bias, kind="stable")[: min(POPULAR, self.n_warm_items, n_interacted)]
        return self.item_factors[order]

    def item_vectors(self) -> Floats:
        """Return item vectors (n, d + 1): the factor, and 1 for items with the cold bonus."""
        return np.hstack([self.item_factors, self.anchored[:, None]])

    @property
    def anchored(self) -> Floats:
        """Return 1 for items with the cold bonus, else 0, (n,)."""
        none = np.zeros(len(self.item_factors), np.float32)
        return none if self.cold is None else self.cold.anchored.astype(np.float32)

    def anchors(self, embeddings: Floats, *, apart_from: Indices | None = None) -> Floats:
        """Return factors (m, d) predicted from text embeddings (m, t); a zero row (no text) gets the average factor.

        apart_from: (m,) the items of these texts, to be excluded from their own prediction.
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
        """Return the arrays, and a JSON tree of the rest, for a file format that separates the two."""
        return pack(self)

    @classmethod
    def from_tensors(cls, arrays: dict[str, npt.NDArray[Any]], tree: Any) -> Factors:
        """Rebuild a model from `to_tensors`; raises ValueError if a part is missing or unknown."""
        try:
            model = unpack(arrays, tree, {kind.__name__: kind for kind in KINDS})
        except ValueError as error:
            raise ValueError(f"this is no model of this version: {error}; run `dvc repro train`") from None
        if not isinstance(model, Factors):
            raise ValueError("this is no model of this version: it has no factors; run `dvc repro train`")
        return model


KINDS = (Factors, LeastSquares, Pooling, Layer, Rerank, Neighbours, ColdLevel)
