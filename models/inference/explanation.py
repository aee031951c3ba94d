"""Why an item is recommended to a user: its score, taken apart exactly.

A user who solves least squares is linear in the history's confidences, x = Σ_j w_j r_j, so that its score is a sum over
the items of the history (Hu, Koren, Volinsky 2008, section 5). A pooled user is such a sum by definition; a perceptron
on top is affine around any one user, so that what it adds to a sum over items is a baseline of its own.

Pure numpy, so that it fits into the Bento.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.inference.factors import Factors
from models.inference.user_side import Doubles, Floats, Indices, LeastSquares, Pooling


@dataclass(frozen=True)
class Explanation:
    """Parts of a score: `history` + `baseline` + `cold` add up to it."""

    score: float
    history: Doubles  # (h,): what each past item contributes, in the order given
    baseline: float  # of a perceptron, whatever the history's items; else 0
    cold: float  # the bonus of an item that nobody has touched yet; may be negative
    text: float | None  # how much of history + baseline the item's text alone accounts for; None where it is unknown

    @property
    def beyond_text(self) -> float | None:
        """How much of history + baseline comes from who touched the item, beyond what its text says."""
        return None if self.text is None else float(self.history.sum()) + self.baseline - self.text


def explain(
    model: Factors,
    history: Indices,
    item: int,
    *,
    weights: npt.NDArray[np.floating[Any]] | None = None,
    embedding: Floats | None = None,
) -> Explanation:
    """The parts of the item's score for a history (h,) of item indices, optionally with positive weights (h,).

    embedding: (t,) of the item's text by the model's encoder; without it, or where the model used no text or the item
    has none, the text's part is unknown. Raises ValueError where the weights do not belong to the history.
    """
    w = np.ones(len(history)) if weights is None else np.asarray(weights, np.float64)
    if w.shape != np.shape(history):
        raise ValueError(f"{w.size} weights for a history of {len(history)} items, expected one each")
    users = model.fold_in([history], [w])  # (1, d)
    contributions, baseline = np.zeros(len(history)), 0.0
    if len(history):
        for side, items, span in model.sides():
            toward = model.item_factors[item, span].astype(np.float64)
            if isinstance(side, LeastSquares):
                contributions += w * (side.response(items, history, w) @ toward)
            else:
                of_items, rest = pooled(side, history, w, toward)
                contributions, baseline = contributions + of_items, baseline + rest
    cold = float(model.cold_bonus(users)[0] * model.anchored[item])
    return Explanation(
        score=float(contributions.sum()) + baseline + cold,
        history=contributions,
        baseline=baseline,
        cold=cold,
        text=text_part(model, users[0], item, embedding),
    )


def pooled(side: Pooling, history: Indices, weights: Doubles, toward: Doubles) -> tuple[Doubles, float]:
    """Contributions (h,) of past items to the score of an item with factor `toward` (d,), and the baseline."""
    parts = weights.sum() ** -side.exponent * weights[:, None] * side.sources[history].astype(np.float64)
    gradient, offset = side.tangent(parts.sum(axis=0), toward)
    return side.scale * (parts @ gradient), side.scale * offset


def text_part(model: Factors, user: Floats, item: int, embedding: Floats | None) -> float | None:
    """Score for a user (d,) of the factor that the item's text (t,) predicts, the item not speaking for itself."""
    if embedding is None or model.text_mean.size == 0 or not np.any(embedding):
        return None
    anchor = model.anchors(np.asarray(embedding, np.float32)[None], apart_from=np.array([item]))[0]
    return float(user.astype(np.float64) @ anchor)
