"""Score bonus for items without interactions (cold start).

A factor predicted from text alone is an expectation: shorter than the factors of items with interactions, so its scores
are low and close together, the lower the longer a user's history is. One scale for all would flood some users' lists
and leave other lists without cold items. Instead cold items get a bonus per user, at which the expected best cold item
reaches a given height among the user's scores of popular items.

    bonus_u = (μ_u + h (τ_u - μ_u)) - (ā_u + 3 σ_u)

μ_u, τ_u: mean and tenth-best of the user's scores of the 300 most popular items; ā_u, σ_u: mean and standard deviation
of the scores of predicted factors; h: the height, chosen on items treated as cold (`tuning.cold_items`). The bonus
needs only the user vector, and is equivariant to a shift or scale of all scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

POPULAR = 300
RANK = 10
DEVIATIONS = 3.0  # expected maximum of some hundreds, in standard deviations


@dataclass(frozen=True)
class ColdLevel:
    """The bonus of cold items, in a catalogue of `n` items and `d` dimensions."""

    anchored: Bools  # (n,): True for items without interactions, with a factor predicted from text
    mean: Floats  # (d,) of predicted factors
    covariance: Floats  # (d, d)
    height: float  # h

    def bonus(self, users: Floats, popular: Floats) -> Doubles:
        """Return the bonus (b,) for user vectors (b, d), given the factors (m, d) of the most popular items."""
        mean, above, expected = self.parts(users, popular)
        return mean + self.height * above - expected

    def parts(self, users: Floats, popular: Floats) -> tuple[Doubles, Doubles, Doubles]:
        """Return μ_u, τ_u - μ_u and ā_u + 3 σ_u, (b,) each."""
        doubles = users.astype(np.float64)
        scores = doubles @ popular.T  # (b, m)
        rank = min(RANK, scores.shape[1])
        mean, tenth = scores.mean(axis=1), np.partition(scores, -rank, axis=1)[:, -rank]
        variances = np.einsum("bd,de,be->b", doubles, self.covariance, doubles, optimize=True)
        expected = doubles @ self.mean + DEVIATIONS * np.sqrt(np.maximum(variances, 0))
        return mean, tenth - mean, expected

    def turned(self, turn: Floats) -> ColdLevel:
        """Return the equivalent for user vectors multiplied by an orthogonal matrix (d, d)."""
        covariance = (turn.T @ self.covariance @ turn).astype(np.float32)
        return replace(self, mean=self.mean @ turn, covariance=covariance)
