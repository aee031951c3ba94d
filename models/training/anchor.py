"""Text anchor: item factors predicted from text, by a ridge regression from embeddings to item factors.

Item i's prior is N(a_i, 1/λ_i) with a_i = strength · W [e_i - mean, 1]; W is refitted to the factors after every epoch,
with each item weighted by its λ_i, so that at strength 1 the alternation descends one joint objective.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.compute.single_thread import single_thread


class TextAnchor:
    """Text prior of item factors for `n` items with `t` text dimensions."""

    def __init__(self, embeddings: Tensor, *, strength: float, ridge: float) -> None:
        """Keep embeddings, float32 (n, t), zero rows for items without text; raises ValueError if one is not finite."""
        if not torch.isfinite(embeddings).all():
            raise ValueError("an item embedding is not finite; run `dvc repro embed --force`")
        self.embeddings, self.strength, self.ridge = embeddings, strength, ridge

    def prepare(self, weights: Tensor) -> None:
        """Compute the constants of the training. weights: (n,), 0 for items that are not fitted (cold ones)."""
        has_text = self.embeddings.abs().sum(1) > 0
        fitted = has_text & (weights > 0)
        t = self.embeddings.shape[1]
        self.mean = self.embeddings[fitted].mean(0) if bool(fitted.any()) else torch.zeros_like(self.embeddings[0])
        centred = torch.where(has_text[:, None], self.embeddings - self.mean, 0.0)
        with single_thread():
            lengths = (centred[fitted] ** 2).sum(1)
            self.scale = float(lengths.mean().sqrt().clamp(min=1e-6)) if bool(fitted.any()) else 1.0
        self.features = torch.hstack([centred / self.scale, torch.ones_like(centred[:, :1])])  # (n, t + 1)
        with single_thread():
            share = (weights / weights.sum().clamp(min=1e-30)).double()
        f = self.features.double()
        gram = (f * share[:, None]).T @ f
        # the features' variances sum to about 1: at ridge 1, a direction with a hundredth of that is shrunk by half
        penalty = torch.full((t + 1,), self.ridge / 100, dtype=torch.float64, device=f.device)
        penalty[-1] = 1e-6  # the intercept is not penalized
        gram.diagonal().add_(penalty)
        with single_thread():
            self.solver = torch.cholesky_solve(
                (f * share[:, None]).T, torch.linalg.cholesky(gram)
            ).float()  # (t + 1, n)

    def fit(self, item_factors: Tensor) -> None:
        """Fit W of the ridge regression onto factors (n, d)."""
        self.weights = self.solver @ item_factors  # (t + 1, d)

    def turn(self, basis: Tensor) -> None:
        """Rotate along with item factors, by an orthogonal basis (d, d)."""
        self.weights = self.weights @ basis

    def predict(self) -> Tensor:
        """Return the anchors of all items, (n, d)."""
        return self.strength * (self.features @ self.weights)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return mean (t,) and weights (t + 1, d) such that an anchor is (e - mean) @ weights[:-1] + weights[-1]."""
        weights = self.strength * self.weights
        return self.mean, torch.vstack([weights[:-1] / self.scale, weights[-1:]])
