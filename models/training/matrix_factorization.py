"""Matrix factorization of implicit feedback by gradient descent (Adam) on the squared error.

    Σ_(u,i) observed [c_ui (1 - x_u·y_i)² + λ (|x_u|² + |y_i|²)] + α Σ_u Σ_i [(x_u·y_i)² + λ (|x_u|² + |y_i|²)]

The textbook form: every pair has its own share of the regularizer (Koren, Bell, Volinsky 2009), observed pairs in full
and each of all pairs with weight α. A minibatch has some users with all their pairs; the sum over all items is a
product of two Gram matrices, so nothing is sampled. `models.training.als` minimizes the same objective by solving it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.inference.factors import Factors
from models.inference.user_side import LeastSquares
from models.training.anchor import TextAnchor
from models.training.epochs import Epoch, descend, step
from models.training.export import export, with_cold
from models.training.interactions import Interactions
from models.training.pairs import Pairs
from models.training.settings import Mf as MfSettings


class MatrixFactorization:
    """One training run; iterate over `epochs()`, then take `factors()`."""

    def __init__(
        self, interactions: Interactions, anchor: TextAnchor | None, settings: MfSettings, *, device: torch.device
    ) -> None:
        self.settings, self.anchor, self.device = settings, anchor, device
        self.pairs = Pairs(interactions, seed=settings.seed, device=device)
        d = settings.embedding_dim
        self.user_factors = self.pairs.normal(interactions.n_users, d, scale=0.1 / d**0.5)
        self.item_factors = self.pairs.normal(self.pairs.n_warm, d, scale=0.1 / d**0.5)
        if anchor is not None:
            anchor.prepare(self.pairs.counts.float())

    def epochs(self) -> Iterator[Epoch]:
        """Train, yielding after each epoch; raises ValueError if the factors become NaN or infinite."""
        parameters = [self.user_factors, self.item_factors]
        optimizer = torch.optim.Adam(parameters, lr=self.settings.learning_rate)

        def epoch() -> float:
            total = 0.0
            for users, pairs in self.pairs.user_batches(self.settings.batch_pairs):
                loss = self.loss(users, pairs)
                step(optimizer, loss / len(pairs))
                total += loss.item()
            return total / len(self.pairs.users)

        return descend(epoch, parameters, epochs=self.settings.epochs)

    def loss(self, users: Tensor, pairs: Tensor) -> Tensor:
        """Return the terms of the module's equation for users (b,) and their pairs, given by index."""
        alpha, y, items = self.settings.unobserved_weight, self.item_factors, self.pairs.items[pairs]
        x = self.user_factors[users]  # (b, d)
        x_pairs = x.repeat_interleave(self.pairs.lengths[users], dim=0)
        y_pairs = y[items]
        observed = (self.pairs.weights[pairs] * (1 - (x_pairs * y_pairs).sum(1)) ** 2).sum()
        everything = ((x.T @ x) * (y.T @ y)).sum()
        penalty = (x_pairs**2).sum() + (y_pairs**2).sum() + alpha * (len(y) * (x**2).sum() + len(x) * (y**2).sum())
        return observed + alpha * everything + self.settings.regularization * penalty

    def factors(self) -> Factors:
        """Return the served model: users solve the same objective for their history."""
        users = LeastSquares(
            dim=self.settings.embedding_dim,
            unobserved_weight=self.settings.unobserved_weight,
            regularization=self.settings.regularization,
            frequency_exponent=1.0,  # λ (n_u + α m): a share per pair
        )
        y = with_cold(self.item_factors, self.pairs.warm, self.anchor)
        return export(y, self.pairs.counts, users, self.anchor)
