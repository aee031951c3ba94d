"""Bayesian personalized ranking: matrix factorization that ranks a user's items before the others.

    mean over observed (u, i), drawn j not of u, of  -ln σ(x_u·y_i - x_u·y_j) + λ (|x_u|² + |y_i|² + |y_j|²)

Rendle et al. 2009, arXiv:1205.2618, with Adam on minibatches and uniform negatives.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from models.inference.factors import Factors
from models.inference.user_side import Pooling
from models.training.anchor import TextAnchor
from models.training.epochs import Epoch, descend, step
from models.training.export import export, with_cold
from models.training.interactions import Interactions
from models.training.pairs import Pairs
from models.training.settings import Bpr as BprSettings


def bpr_loss(users: Tensor, positives: Tensor, negatives: Tensor, weights: Tensor) -> Tensor:
    """-ln σ(x·y_i - x·y_j), weighted mean over the batch; rows (batch, d), weights (batch,)."""
    margin = (users * (positives - negatives)).sum(1)
    return -(weights * logsigmoid(margin)).sum() / weights.sum()


def squares(*rows: Tensor) -> Tensor:
    """Σ of the squared norms of aligned rows (batch, d), mean over the batch."""
    return torch.stack([(r**2).sum() for r in rows]).sum() / len(rows[0])


class Bpr:
    """One training run; iterate over `epochs()`, then take `factors()`."""

    def __init__(
        self, interactions: Interactions, anchor: TextAnchor | None, settings: BprSettings, *, device: torch.device
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
            total, n_pairs = 0.0, 0
            for batch in self.pairs.batches(self.settings.batch_pairs):
                loss = self.loss(batch, self.pairs.negatives(batch))
                step(optimizer, loss)
                total, n_pairs = total + loss.item() * len(batch), n_pairs + len(batch)
            return total / max(n_pairs, 1)

        return descend(epoch, parameters, epochs=self.settings.epochs)

    def loss(self, batch: Tensor, negatives: Tensor) -> Tensor:
        """Return the module's equation for pairs given by index (b,) and a negative item for each (b,)."""
        x = self.user_factors[self.pairs.users[batch]]  # (b, d)
        y, other = self.item_factors[self.pairs.items[batch]], self.item_factors[negatives]
        return bpr_loss(x, y, other, self.pairs.weights[batch]) + self.settings.regularization * squares(x, y, other)

    def factors(self) -> Factors:
        """Return the served model: a user is the mean of its history's item factors.

        BPR has no closed form for a new user. The mean ranks better than a least-squares fit to the item factors, and
        than the trained users themselves.
        """
        y = with_cold(self.item_factors, self.pairs.warm, self.anchor)
        users = Pooling(y.cpu().numpy(), exponent=1.0)
        return export(y, self.pairs.counts, users, self.anchor)
