"""The model that is served: item vectors, and the solve that folds any history into a user vector.

Users are never stored: a user is the exact solution of the ALS normal equations for a history, so known users, new
users and new events all take the same path. Pure numpy, so that serving needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """Weighted matrix factorization with a popularity penalty, `n` items, `d` dimensions, `t` text dimensions."""

    item_factors: Floats  # (n, d); the factor of an item without interactions is its text anchor
    gram: Floats  # (d, d): sum of y yᵀ over items with interactions
    popularity_bias: Floats  # (n,): log(1 + train users) / log(1 + largest), in [0, 1]
    text_mean: Floats  # (t,)
    text_weights: Floats  # (t + 1, d), last row the intercept; t = 0 where training used no text
    unobserved_weight: float
    user_regularization: float  # of a user whose effective frequency is 1
    frequency_exponent: float
    n_warm_items: int
    tail_strength: float  # how much popularity_bias counts against an item

    def fold_in(
        self, histories: Sequence[npt.NDArray[np.integer[Any]]], weights: Sequence[Floats] | None = None
    ) -> Floats:
        """User factors (len(histories), d) of lists of item indices, optionally weighted.

        (alpha G + lambda_u I + Σ w y yᵀ) x = Σ w y    (Hu, Koren, Volinsky 2008; weights as in Rendle et al. 2021,
        arXiv:2110.14037). An empty history gives the zero vector.
        """
        d = self.item_factors.shape[1]
        users = np.zeros((len(histories), d), np.float32)
        for row, history in enumerate(histories):
            if len(history) == 0:
                continue
            y = self.item_factors[history].astype(np.float64)  # (h, d)
            w = np.ones(len(history)) if weights is None else weights[row].astype(np.float64)
            a = self.unobserved_weight * self.gram.astype(np.float64) + (y * w[:, None]).T @ y
            a[np.diag_indices(d)] += self.regularization(len(history))
            users[row] = np.linalg.solve(a, y.T @ w)
        return users

    def regularization(self, n_interactions: int) -> float:
        """lambda_u of a user with that many interactions (frequency-scaled, arXiv:2110.14037 eq. 7)."""
        frequency = n_interactions + self.unobserved_weight * self.n_warm_items
        return float(self.user_regularization * frequency**self.frequency_exponent)

    def queries(self, users: Floats) -> Floats:
        """User vectors (b, d + 1) whose inner product with `item_vectors` is the score.

        The penalty is counted in the root mean square of the user's own scores, so that one strength suits all users
        and does not depend on how a factorization divides scale between users and items.
        """
        mean_squares = np.einsum("bd,de,be->b", users, self.gram, users, optimize=True) / max(self.n_warm_items, 1)
        spread = np.sqrt(np.maximum(mean_squares, 0))[:, None]
        return np.hstack([users, -self.tail_strength * spread]).astype(np.float32)

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

    def to_tensors(self) -> tuple[dict[str, Floats], dict[str, float | int]]:
        """Arrays and scalars, for a file format that keeps the two apart."""
        values = asdict(self)
        arrays = {key: np.ascontiguousarray(v) for key, v in values.items() if isinstance(v, np.ndarray)}
        return arrays, {key: v for key, v in values.items() if not isinstance(v, np.ndarray)}

    @classmethod
    def from_tensors(cls, arrays: dict[str, Floats], scalars: dict[str, float | int]) -> Factors:
        """Inverse of `to_tensors`; raises ValueError where a part is missing."""
        parts: dict[str, Any] = {**arrays, **scalars}
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in parts]
        if missing:
            raise ValueError(f"the model lacks {', '.join(missing)}; another version wrote it; run `dvc repro train`")
        return cls(**{name: parts[name] for name in names})
