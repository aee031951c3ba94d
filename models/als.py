"""Implicit-feedback matrix factorization by alternating least squares, with text-anchored item factors.

    min  Σ_(u,i) observed c_ui (1 - x_u·y_i)² + α Σ_u Σ_i (x_u·y_i)²
         + Σ_u λ_u |x_u|² + Σ_i λ_i |y_i - a_i|²

α weighs every pair (Hu, Koren, Volinsky 2008; Rendle et al. 2021, arXiv:2110.14037), λ grows with how often a user or
an item occurs (the same paper, eq. 7), and a_i is the factor that the item's text predicts (`models.anchor`), so that
an item without interactions still has one.

Each half-sweep turns all factors into the eigenbasis of the held side's Gram matrix, which changes no score and makes
«all pairs» a diagonal, and then improves every row by a few steps of conjugate gradient (`models.row_solver`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.anchor import TextAnchor
from models.factors import Factors
from models.interactions import Interactions, grouped
from models.row_solver import improve
from models.user_side import LeastSquares

__all__ = ["Als", "Epoch", "Interactions", "Settings"]


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; see the module's equation."""

    embedding_dim: int  # d
    epochs: int
    unobserved_weight: float  # α
    regularization: float  # λ, mean over the rows that have interactions
    frequency_exponent: float  # ν
    cg_steps: int
    seed: int


@dataclass
class Epoch:
    """State after one epoch. The tensors are live: copy what shall outlast the next epoch."""

    number: int
    loss: float  # the objective, divided by the number of observed pairs
    user_factors: Tensor  # float32 (n_users, d)
    item_factors: Tensor  # float32 (n_items, d)


class Als:
    """One training run; iterate over `epochs()`, then take `factors()`."""

    def __init__(
        self, interactions: Interactions, anchor: TextAnchor | None, settings: Settings, *, device: torch.device
    ) -> None:
        self.settings, self.anchor, self.device = settings, anchor, device
        self.users, self.items = (side.to(device) for side in grouped(interactions))
        n_users, n_items, d = interactions.n_users, interactions.n_items, settings.embedding_dim
        self.warm = self.items.counts > 0
        self.n_warm = int(self.warm.sum())
        self.user_scale, self.user_regularization = self._regularization(self.users.counts, self.n_warm)
        _, self.item_regularization = self._regularization(self.items.counts, n_users)
        generator = torch.Generator().manual_seed(settings.seed)
        self.item_factors = (torch.randn(n_items, d, generator=generator) * (0.1 / d**0.5)).to(device)
        self.item_factors[~self.warm] = 0
        self.user_factors = torch.zeros(n_users, d, device=device)
        if anchor is not None:
            anchor.prepare(self.item_regularization * self.warm)
            anchor.fit(self.item_factors)

    def _regularization(self, counts: Tensor, n_columns: int) -> tuple[float, Tensor]:
        """Scale s and λ_r = s (n_r + α n_columns)^ν, its mean over rows with interactions being `regularization`."""
        frequency = (counts + self.settings.unobserved_weight * n_columns).double() ** self.settings.frequency_exponent
        scale = self.settings.regularization / float(frequency[counts > 0].mean())
        return scale, (scale * frequency).float()

    def epochs(self) -> Iterator[Epoch]:
        """Train: yields after each epoch. Raises ValueError when the factors stop being finite."""
        for number in range(1, self.settings.epochs + 1):
            self._improve_users(number)
            objective = self._improve_items(number)
            self._fill_cold()
            yield Epoch(number, objective / len(self.items.columns), self.user_factors, self.item_factors)

    def _improve_users(self, number: int) -> None:
        cold = self.n_warm < len(self.warm)  # cold items are nobody's unobserved pairs
        shared = self._turn(self.item_factors[self.warm] if cold else self.item_factors, number)
        objective = improve(
            self.users, self.item_factors, self.user_factors,
            shared=shared, regularization=self.user_regularization, prior=None, steps=self.settings.cg_steps,
        )  # fmt: skip
        check_finite(objective, number)

    def _improve_items(self, number: int) -> float:
        """Returns the module's objective."""
        shared = self._turn(self.user_factors, number)
        prior = self.anchor.predict() if self.anchor is not None else None
        objective = improve(
            self.items, self.user_factors, self.item_factors,
            shared=shared, regularization=self.item_regularization, prior=prior, steps=self.settings.cg_steps,
        )  # fmt: skip
        objective += float(self.user_regularization @ self.user_factors.square().sum(1))
        check_finite(objective, number)
        return objective

    def _turn(self, held: Tensor, number: int) -> Tensor:
        """Turn all factors into the eigenbasis of α Σ z zᵀ over the held rows z; its eigenvalues, (d,)."""
        gram = self.settings.unobserved_weight * (held.T @ held).double()
        check_finite(float(gram.trace()), number)
        eigenvalues, vectors = torch.linalg.eigh(gram)
        basis = vectors.float()
        self.user_factors, self.item_factors = self.user_factors @ basis, self.item_factors @ basis
        if self.anchor is not None:
            self.anchor.turn(basis)
        shared: Tensor = eigenvalues.clamp(min=0).float()
        return shared

    def _fill_cold(self) -> None:
        """Refit the anchor and give items without interactions the factor that their text predicts."""
        if self.anchor is None:
            self.item_factors[~self.warm] = 0
            return
        self.anchor.fit(self.item_factors)
        self.item_factors[~self.warm] = self.anchor.predict()[~self.warm]

    def factors(self, *, tail_strength: float) -> Factors:
        """The model as it is served, on the CPU."""
        y = self.item_factors
        warm = y[self.warm].double()
        mean, weights = (
            self.anchor.affine() if self.anchor is not None else (torch.zeros(0), torch.zeros(1, y.shape[1]))
        )
        popularity = torch.log1p(self.items.counts.double())
        users = LeastSquares(
            dim=y.shape[1],
            unobserved_weight=self.settings.unobserved_weight,
            regularization=self.user_scale,
            frequency_exponent=self.settings.frequency_exponent,
        )
        return Factors(
            item_factors=y.cpu().numpy(),
            gram=(warm.T @ warm).float().cpu().numpy(),
            n_warm_items=self.n_warm,
            users=(users,),
            popularity_bias=(popularity / popularity.max()).float().cpu().numpy(),
            tail_strength=tail_strength,
            text_mean=mean.cpu().numpy(),
            text_weights=weights.cpu().numpy(),
        )


def check_finite(value: float, number: int) -> None:
    """Raises ValueError where a figure of that epoch says that the factors are not finite."""
    if not np.isfinite(value):
        raise ValueError(
            f"the loss is {value} in epoch {number}: training diverged; raise train.regularization or train.cg_steps"
        )
