"""At which height of a user's scores the items that nobody has touched stand.

A factor that only text predicts is an expectation: shorter than the factors of items that people touched, so that its
scores lie low and close together, the lower the more a user's taste is known. Scaling all of them by one number would
flood some users' lists and leave out others'. They are raised per user instead: by the bonus at which the best cold
item to be expected meets a given height of the user's scores of popular items.

    bonus_u = (μ_u + h (τ_u - μ_u)) - (ā_u + 3 σ_u)

μ_u, τ_u: mean and tenth-best of the user's scores of the 300 most popular items; ā_u, σ_u: mean and standard deviation
of its scores of what text predicts; h: the height, chosen on items treated as cold (`tuning.cold_items`). Nothing but
a user vector is needed, and a shift or a scale of all scores changes nothing.
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
DEVIATIONS = 3.0  # of the best of some hundreds


@dataclass(frozen=True)
class ColdLevel:
    """The bonus of cold items, in a catalogue of `n` items and `d` dimensions."""

    anchored: Bools  # (n,): nobody has touched the item, and its factor is what its text predicts
    mean: Floats  # (d,) of predicted factors
    covariance: Floats  # (d, d)
    height: float  # h

    def bonus(self, users: Floats, popular: Floats) -> Doubles:
        """The bonus (b,) for user vectors (b, d), given the factors (m, d) of the most popular items."""
        mean, above, expected = self.parts(users, popular)
        return mean + self.height * above - expected

    def parts(self, users: Floats, popular: Floats) -> tuple[Doubles, Doubles, Doubles]:
        """μ_u, τ_u - μ_u and ā_u + 3 σ_u, (b,) each."""
        doubles = users.astype(np.float64)
        scores = doubles @ popular.T  # (b, m)
        rank = min(RANK, scores.shape[1])
        mean, tenth = scores.mean(axis=1), np.partition(scores, -rank, axis=1)[:, -rank]
        variances = np.einsum("bd,de,be->b", doubles, self.covariance, doubles, optimize=True)
        expected = doubles @ self.mean + DEVIATIONS * np.sqrt(np.maximum(variances, 0))
        return mean, tenth - mean, expected

    def turned(self, turn: Floats) -> ColdLevel:
        """The same for user vectors multiplied by an orthogonal matrix (d, d)."""
        covariance = (turn.T @ self.covariance @ turn).astype(np.float32)
        return replace(self, mean=self.mean @ turn, covariance=covariance)
