"""Implicit-feedback matrix factorization by alternating least squares, with text-anchored item factors.

    min  Σ_(u,i) observed c_ui (1 - x_u·y_i)² + α Σ_u Σ_i (x_u·y_i)²
         + Σ_u λ_u |x_u|² + Σ_i λ_i |y_i - a_i|²

α weighs every pair (Hu, Koren, Volinsky 2008; Rendle et al. 2021, arXiv:2110.14037), λ grows with the frequency of a
user or item (the same paper, eq. 7), and a_i is the factor predicted from the item's text (`training.anchor`), so that
an item without interactions still has a factor.

Each half-sweep rotates all factors into the eigenbasis of the fixed side's Gram matrix, which changes no score and
makes the term over all pairs diagonal, and then improves every row by a few steps of conjugate gradient (`row_solver`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.compute.dense import Dense
from models.compute.distributed import Ranks
from models.compute.single_thread import single_thread
from models.inference.factors import Factors
from models.inference.user_side import LeastSquares
from models.training.anchor import TextAnchor
from models.training.export import export
from models.training.interactions import Interactions, by_item, by_user, counts
from models.training.row_solver import improve
from models.training.settings import Als as AlsSettings

LINE = 16  # float32 numbers in a cache line
ROWS_AT_A_TIME = 1 << 12  # rotated in place: bounds the extra memory

__all__ = ["Als", "AlsSettings", "Epoch", "Interactions"]


@dataclass
class Epoch:
    """State after one epoch, in every rank. The tensors change in the next epoch: copy them to keep them."""

    number: int
    loss: float  # the objective, divided by the number of observed pairs
    user_factors: Tensor  # float32 (own users, d); all users in a single process
    item_factors: Tensor  # float32 (n_items, d)


class Als:
    """One training run; iterate over `epochs()`, then take `factors()`."""

    def __init__(
        self, interactions: Interactions, anchor: TextAnchor | None, settings: AlsSettings, *, device: torch.device,
        ranks: Ranks | None = None,
    ) -> None:  # fmt: skip
        """Prepare the training; every rank gets the same arguments."""
        self.settings, self.anchor, self.device, self.ranks = settings, anchor, device, ranks or Ranks()
        self.n_pairs = len(interactions.user_idx)
        users, items = counts(interactions)
        self.user_shares, self.item_shares = self.ranks.shares(users), self.ranks.shares(items)
        self.own_users, self.own_items = (side[self.ranks.rank] for side in (self.user_shares, self.item_shares))
        self.users = by_user(interactions, self.own_users).to(device)
        self.items = by_item(interactions, self.own_items).to(device)
        self.item_counts = items.to(device)  # (n_items,)
        self.warm = self.item_counts > 0
        self.n_warm = int(self.warm.sum())
        self.user_scale, user_regularization = self._regularization(users, self.n_warm)
        self.user_regularization = user_regularization[self.own_users].to(device)  # (own users,)
        self.item_regularization = self._regularization(items, interactions.n_users)[1].to(device)  # (n_items,)
        generator = torch.Generator().manual_seed(settings.seed)
        d = settings.embedding_dim
        self.item_factors = table(interactions.n_items, d)
        self.item_factors.normal_(generator=generator).mul_(0.1 / d**0.5)
        self.item_factors = self.item_factors.to(device)
        self.item_factors[~self.warm] = 0
        self.user_factors = table(len(self.user_regularization), d).to(device)
        if anchor is not None:
            anchor.prepare(self.item_regularization * self.warm)
            anchor.fit(self.item_factors)

    def _regularization(self, counts: Tensor, n_columns: int) -> tuple[float, Tensor]:
        """Return s and λ_r = s (n_r + α n_columns)^ν, with mean `regularization` over rows with interactions.

        Raises ValueError if a λ_r is not a positive float32.
        """
        effective = counts.double() + self.settings.unobserved_weight * n_columns
        frequency = effective**self.settings.frequency_exponent
        with single_thread():
            scale = self.settings.regularization / float(frequency[counts > 0].mean())
        regularization = (scale * frequency).float()
        active = regularization[counts > 0]
        if not (torch.isfinite(active) & (active > 0)).all():
            raise ValueError(
                f"the regularization of a row is {float(active.min())} to {float(active.max())}, expected positive "
                "finite numbers; change train.regularization, train.unobserved_weight or train.frequency_exponent"
            )
        return scale, regularization

    def epochs(self) -> Iterator[Epoch]:
        """Train, yielding after each epoch; raises ValueError if the factors become NaN or infinite."""
        for number in range(1, self.settings.epochs + 1):
            objective = self._improve_users()
            if np.isfinite(objective):
                objective = self._improve_items()
            if not np.isfinite(objective):
                raise ValueError(
                    f"the loss is {objective} in epoch {number}: training diverged; "
                    "raise train.regularization or train.cg_steps"
                )
            self._fill_cold()
            yield Epoch(number, objective / self.n_pairs, self.user_factors, self.item_factors)

    def _improve_users(self) -> float:
        """Run the users' half-sweep and return the objective that it minimizes."""
        cold = self.n_warm < len(self.warm)  # cold items are in no unobserved pair
        held = self.item_factors[self.warm] if cold else self.item_factors
        shared = self._turn(held.T @ held)
        objective = improve(
            self.users, self.item_factors, self.user_factors,
            shared=shared, regularization=self.user_regularization, prior=None, steps=self.settings.cg_steps,
        )  # fmt: skip
        return self._total(objective)

    def _improve_items(self) -> float:
        """Run the items' half-sweep and return the module's objective."""
        shared = self._turn(self.ranks.sum(self.user_factors.T @ self.user_factors))
        own = self.own_items
        rows, prior = self.item_factors[own], self.anchor.predict()[own] if self.anchor is not None else None
        objective = improve(
            self.items, self.ranks.gather(self.user_factors, self.user_shares), rows,
            shared=shared, regularization=self.item_regularization[own], prior=prior, steps=self.settings.cg_steps,
        )  # fmt: skip
        self.item_factors = self.ranks.gather(rows, self.item_shares)
        lengths = torch.linalg.vector_norm(self.user_factors, dim=1)
        with single_thread():
            penalty = float(self.user_regularization @ lengths.square_())
        return self._total(objective + penalty)

    def _turn(self, gram: Tensor) -> Tensor:
        """Rotate all factors into the eigenbasis of α Σ z zᵀ, given Σ z zᵀ, and return its eigenvalues, (d,)."""
        if not torch.isfinite(gram).all():
            return torch.full_like(gram[0], torch.nan)  # passed on to the objective
        with single_thread():
            eigenvalues, vectors = torch.linalg.eigh(self.settings.unobserved_weight * gram.double())
        basis = self.ranks.first(vectors.float())
        turned = Dense(basis.T.contiguous())
        for table in (self.user_factors, self.item_factors):
            for block in torch.split(table, ROWS_AT_A_TIME):
                block.copy_(turned(block))
        if self.anchor is not None:
            self.anchor.turn(basis)
        return self.ranks.first(eigenvalues.clamp(min=0).float())

    def _total(self, value: float) -> float:
        """Return the sum over ranks."""
        return float(self.ranks.sum(torch.tensor([value], dtype=torch.float64, device=self.device)))

    def _fill_cold(self) -> None:
        """Refit the anchor, and set the factors of items without interactions to the prediction from their text."""
        if self.anchor is None:
            self.item_factors[~self.warm] = 0
            return
        self.anchor.fit(self.item_factors)
        self.item_factors[~self.warm] = self.anchor.predict()[~self.warm]

    def factors(self) -> Factors:
        """Return the served model, on the CPU."""
        users = LeastSquares(
            dim=self.item_factors.shape[1],
            unobserved_weight=self.settings.unobserved_weight,
            regularization=self.user_scale,
            frequency_exponent=self.settings.frequency_exponent,
        )
        item_factors = self.item_factors.clone()  # the next epoch works in place
        return export(item_factors, self.item_counts, users, self.anchor)


def table(n: int, d: int) -> Tensor:
    """Return zeros (n, d), float32, for random gathers.

    Allocated in huge pages, as by numpy but not by torch, and aligned to cache lines, as by torch but not by numpy:
    numbers across two lines take two reads.
    """
    numbers = np.zeros(n * d + LINE, np.float32)
    start = -numbers.ctypes.data // numbers.itemsize % LINE
    return torch.from_numpy(numbers[start : start + n * d].reshape(n, d))
