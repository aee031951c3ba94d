"""How a history of items becomes a user vector: by solving for it, or by adding up what each item says.

Pure numpy, so that serving needs no torch. `models.fold_in` does the same for many users at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class ItemSide:
    """What a user vector is scored against, with the Gram matrix of its warm items in eigenform."""

    factors: Floats  # (n, d)
    eigenvalues: Doubles  # (d,) of G = Σ y yᵀ over items with interactions
    basis: Doubles  # (d, d), its columns the eigenvectors
    n_warm: int


@dataclass(frozen=True)
class LeastSquares:
    """The user of weighted matrix factorization: the exact solution of the normal equations for a history.

    (α G + λ_u I + Σ w y yᵀ) x = Σ w y    (Hu, Koren, Volinsky 2008; weights as in Rendle et al. 2021, arXiv:2110.14037)
    """

    dim: int  # d
    unobserved_weight: float  # α
    regularization: float  # of a user whose effective frequency is 1
    frequency_exponent: float
    scale: float = 1.0  # of the user vector, beside other sides

    def ridge(self, n_interactions: float | Doubles, n_warm: int) -> Any:
        """λ_u of users with so many interactions (frequency-scaled, arXiv:2110.14037 eq. 7)."""
        return self.regularization * (n_interactions + self.unobserved_weight * n_warm) ** self.frequency_exponent

    def fold_in(self, items: ItemSide, history: Indices, weights: Doubles) -> Doubles:
        """User vector (d,) of a history (h,) of items with positive weights (h,)."""
        return self.scale * (self.response(items, history, weights) @ weights)

    def response(self, items: ItemSide, history: Indices, weights: Doubles) -> Doubles:
        """R (d, h) such that the user vector, unscaled, is R w: what each past item adds to it.

        In the eigenbasis of G all that users share is a diagonal D, so a system of size min(h, d) remains:
        R = Q D⁻¹ Ỹᵀ (I + W Ỹ D⁻¹ Ỹᵀ)⁻¹ (Woodbury) where h < d, else R = Q (D + Ỹᵀ W Ỹ)⁻¹ Ỹᵀ, with Ỹ = Y Q.
        """
        y = items.factors[history].astype(np.float64) @ items.basis  # (h, d)
        diagonal = self.unobserved_weight * items.eigenvalues + self.ridge(len(history), items.n_warm)
        if len(history) < self.dim:
            scaled = y / diagonal  # (h, d)
            kernel = np.eye(len(history)) + weights[:, None] * (y @ scaled.T)
            return np.asarray(items.basis @ np.linalg.solve(kernel.T, scaled).T)
        return np.asarray(items.basis @ np.linalg.solve(np.diag(diagonal) + (y * weights[:, None]).T @ y, y.T))


@dataclass(frozen=True)
class Layer:
    """One affine map of a perceptron."""

    weight: Floats  # (inputs, outputs)
    bias: Floats  # (outputs,)


@dataclass(frozen=True)
class Pooling:
    """A user as the sum of what each past item says: x = f((Σ w)^-p Σ w s).

    p = 0 for item-item models (a low-rank Σ_j s_j · y_i), 1/2 for graph convolutions, 1 for a mean. f is a perceptron
    with rectified hidden layers, the identity where there is none.
    """

    sources: Floats  # (n, inputs): what each item says of who touched it
    exponent: float  # p
    layers: tuple[Layer, ...] = ()
    scale: float = 1.0  # of the user vector, beside other sides

    @property
    def dim(self) -> int:
        return int((self.layers[-1].weight if self.layers else self.sources).shape[1])

    def fold_in(self, items: ItemSide, history: Indices, weights: Doubles) -> Doubles:
        """User vector (d,) of a history (h,) of items with positive weights (h,)."""
        pooled = weights @ self.sources[history].astype(np.float64) * weights.sum() ** -self.exponent
        user: Doubles = self.scale * self.perceptron(pooled[None])[0]
        return user

    def perceptron(self, x: Doubles) -> Doubles:
        """f of every row, (b, inputs) -> (b, d)."""
        for number, layer in enumerate(self.layers):
            x = x @ layer.weight.astype(np.float64) + layer.bias
            if number + 1 < len(self.layers):
                x = np.maximum(x, 0)
        return x


UserSide = LeastSquares | Pooling
