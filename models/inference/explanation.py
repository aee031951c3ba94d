"""Explain a recommendation: the item's score as an exact sum.

A least-squares user vector is linear in the history's confidences, x = Σ_j w_j r_j, so that a score is a sum over the
items of the history (Hu, Koren, Volinsky 2008, section 5). A pooled user is such a sum by definition; a perceptron on
top is affine around any given user, so it adds only a baseline to the sum over items.

Pure numpy, so that it can be part of the Bento.
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
    """Parts of a score, with the sum `history` + `baseline` + `cold`."""

    score: float
    history: Doubles  # (h,): contribution of each past item, in the given order
    baseline: float  # of a perceptron, independent of the history; else 0
    cold: float  # bonus of an item without interactions; may be negative
    text: float | None  # part of history + baseline that the item's text alone accounts for; None if unknown

    @property
    def beyond_text(self) -> float | None:
        """Return the part of history + baseline from the item's interactions, beyond its text."""
        return None if self.text is None else float(self.history.sum()) + self.baseline - self.text


def explain(
    model: Factors,
    history: Indices,
    item: int,
    *,
    weights: npt.NDArray[np.floating[Any]] | None = None,
    embedding: Floats | None = None,
) -> Explanation:
    """Return the parts of the item's score for a history (h,) of item indices, optionally with positive weights (h,).

    embedding: (t,) of the item's text by the model's encoder; without it, or if the model uses no text or the item has
    none, the text's part is unknown. Raises ValueError if the numbers of weights and items differ.
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
    """Return contributions (h,) of past items to the score of an item with factor `toward` (d,), and the baseline."""
    parts = weights.sum() ** -side.exponent * weights[:, None] * side.sources[history].astype(np.float64)
    gradient, offset = side.tangent(parts.sum(axis=0), toward)
    return side.scale * (parts @ gradient), side.scale * offset


def text_part(model: Factors, user: Floats, item: int, embedding: Floats | None) -> float | None:
    """Return the score for a user (d,) of the factor predicted from the item's text (t,), the item itself excluded."""
    if embedding is None or model.text_mean.size == 0 or not np.any(embedding):
        return None
    anchor = model.anchors(np.asarray(embedding, np.float32)[None], apart_from=np.array([item]))[0]
    return float(user.astype(np.float64) @ anchor)
