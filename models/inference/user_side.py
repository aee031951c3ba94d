"""User side of a model: a user vector from a history, by least squares or by pooling item vectors.

Pure numpy, so that serving needs no torch. `models.ranking.fold_in` does the same for many users at once.
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
    """The items that a user vector is scored against, with the eigendecomposition of the Gram matrix of warm items."""

    factors: Floats  # (n, d)
    eigenvalues: Doubles  # (d,) of G = Σ y yᵀ over items with interactions
    basis: Doubles | None  # (d, d), eigenvectors as columns; None for the identity, so that vectors need no rotation
    n_warm: int

    @classmethod
    def of(cls, factors: Floats, gram: Floats, n_warm: int) -> ItemSide:
        """Decompose a Gram matrix (d, d); a diagonal one needs no rotation."""
        diagonal = np.diagonal(gram).astype(np.float64)
        if np.array_equal(gram, np.diag(np.diagonal(gram))):
            return cls(factors, np.maximum(diagonal, 0), None, n_warm)
        eigenvalues, basis = np.linalg.eigh(gram.astype(np.float64))
        return cls(factors, np.maximum(eigenvalues, 0), basis, n_warm)

    def turned(self, vectors: Floats) -> Doubles:
        """Rotate vectors (m, d) into the eigenbasis."""
        doubles = vectors.astype(np.float64)
        return doubles if self.basis is None else doubles @ self.basis

    def back(self, vectors: Doubles) -> Doubles:
        """Rotate vectors (m, d) back from the eigenbasis."""
        return vectors if self.basis is None else vectors @ self.basis.T


@dataclass(frozen=True)
class LeastSquares:
    """The user of weighted matrix factorization: the exact solution of the normal equations for a history.

    (α G + λ_u I + Σ w y yᵀ) x = Σ w y    (Hu, Koren, Volinsky 2008; weights as in Rendle et al. 2021, arXiv:2110.14037)
    """

    dim: int  # d
    unobserved_weight: float  # α
    regularization: float  # for a user with an effective frequency of 1
    frequency_exponent: float
    scale: float = 1.0  # of the user vector, relative to other sides

    def ridge(self, n_interactions: float | Doubles, n_warm: int) -> Any:
        """Return λ_u of users by number of interactions (frequency-scaled, arXiv:2110.14037 eq. 7)."""
        return self.regularization * (n_interactions + self.unobserved_weight * n_warm) ** self.frequency_exponent

    def fold_in(self, items: ItemSide, history: Indices, weights: Doubles) -> Doubles:
        """Return the user vector (d,) of a history (h,) of items with positive weights (h,).

        In the eigenbasis of G the part shared by all users is a diagonal D, so one system of size min(h, d) remains:
        x = D⁻¹ Yᵀ (I + W Y D⁻¹ Yᵀ)⁻¹ w (Woodbury) for h < d, else x = (D + Yᵀ W Y)⁻¹ Yᵀ w.
        """
        y, diagonal = self.system(items, history)
        if len(history) < self.dim:
            scaled = y / diagonal  # (h, d)
            kernel = weights[:, None] * (y @ scaled.T)
            kernel.flat[:: len(history) + 1] += 1
            user = np.asarray(np.linalg.solve(kernel, weights) @ scaled, np.float64)
        else:
            matrix = (y * weights[:, None]).T @ y
            matrix.flat[:: self.dim + 1] += diagonal
            user = np.asarray(np.linalg.solve(matrix, weights @ y), np.float64)
        return self.scale * items.back(user)

    def response(self, items: ItemSide, history: Indices, weights: Doubles) -> Doubles:
        """Return R (h, d) such that the user vector is w R: each past item's contribution per unit of weight.

        For a short or long history, as in `fold_in`: R = (I + Y D⁻¹ Yᵀ W)⁻¹ Y D⁻¹, or R = Y (D + Yᵀ W Y)⁻¹.
        """
        y, diagonal = self.system(items, history)
        if len(history) < self.dim:
            scaled = y / diagonal  # (h, d)
            rows = np.asarray(np.linalg.solve(np.eye(len(history)) + (scaled @ y.T) * weights, scaled), np.float64)
        else:
            rows = np.asarray(np.linalg.solve(np.diag(diagonal) + (y * weights[:, None]).T @ y, y.T).T, np.float64)
        return self.scale * items.back(rows)

    def system(self, items: ItemSide, history: Indices) -> tuple[Doubles, Doubles]:
        """Return Y (h, d) of a history and D (d,), both in the eigenbasis."""
        diagonal = self.unobserved_weight * items.eigenvalues + self.ridge(len(history), items.n_warm)
        return items.turned(items.factors[history]), diagonal


@dataclass(frozen=True)
class Layer:
    """One affine map of a perceptron."""

    weight: Floats  # (inputs, outputs)
    bias: Floats  # (outputs,)


@dataclass(frozen=True)
class Pooling:
    """A user as a pooled sum over past items: x = f((Σ w)^-p Σ w s).

    p = 0 for item-item models (a low-rank Σ_j s_j · y_i), 1/2 for graph convolutions, 1 for a mean. f is a perceptron
    with rectified hidden layers, or the identity.
    """

    sources: Floats  # (n, inputs): vectors of items as part of a history
    exponent: float  # p
    layers: tuple[Layer, ...] = ()
    scale: float = 1.0  # of the user vector, relative to other sides

    @property
    def dim(self) -> int:
        return int((self.layers[-1].weight if self.layers else self.sources).shape[1])

    def fold_in(self, items: ItemSide, history: Indices, weights: Doubles) -> Doubles:
        """Return the user vector (d,) of a history (h,) of items with positive weights (h,)."""
        pooled = weights @ self.sources[history].astype(np.float64) * weights.sum() ** -self.exponent
        user: Doubles = self.scale * self.perceptron(pooled[None])[0]
        return user

    def perceptron(self, x: Doubles) -> Doubles:
        """Apply f to every row, (b, inputs) -> (b, d)."""
        for number, layer in enumerate(self.layers):
            x = x @ layer.weight.astype(np.float64) + layer.bias
            if number + 1 < len(self.layers):
                x = np.maximum(x, 0)
        return x

    def tangent(self, x: Doubles, toward: Doubles) -> tuple[Doubles, float]:
        """Return gradient g (inputs,) and offset c of toward · f at x (inputs,): near x, toward · f(x) = g · x + c."""
        inputs, hidden = [np.ones(len(x), np.bool_)], x  # of every layer, mask of active units
        for layer in self.layers[:-1]:
            hidden = np.maximum(hidden @ layer.weight.astype(np.float64) + layer.bias, 0)
            inputs.append(hidden > 0)
        gradient = toward
        for layer, counting in zip(reversed(self.layers), reversed(inputs[: len(self.layers)]), strict=True):
            gradient = layer.weight.astype(np.float64) @ gradient * counting
        return gradient, float(toward @ self.perceptron(x[None])[0] - gradient @ x)


UserSide = LeastSquares | Pooling
