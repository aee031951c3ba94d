"""Transfer of an older model to the current catalogue, so that both models can be judged on the same holdout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.inference.factors import Factors
from models.inference.user_side import Floats, LeastSquares, UserSide


def carry_over(
    model: Factors, source: npt.NDArray[np.integer[Any]], embeddings: Floats | None
) -> tuple[Factors, npt.NDArray[np.bool_]]:
    """Return the model with one row per current item, and the mask (n_items,) of items that it can recommend.

    source: (n_items,) the item's row in the model, -1 for an unknown item. Unknown items get the model's text anchor
    if `embeddings` (n_items, t) of the model's own encoder are given; otherwise they cannot be recommended.
    """
    known = source >= 0
    item_factors = model.item_factors[source] * known[:, None]
    popularity_bias = model.popularity_bias[source] * known  # unknown items had no interactions
    anchored = embeddings is not None and embeddings.shape[1] == len(model.text_mean)
    has_text = np.zeros(len(source), np.bool_)
    if anchored and embeddings is not None:
        item_factors[~known] = model.anchors(embeddings[~known])
        has_text |= embeddings.any(axis=1)
    cold = model.cold
    if cold is not None:
        cold = replace(cold, anchored=np.where(known, cold.anchored[source], has_text))
    aligned = replace(
        model,
        item_factors=item_factors.astype(np.float32),
        popularity_bias=popularity_bias,
        users=tuple(over(side, source) for side in model.users),
        neighbours=None,  # of the model's own catalogue, and already used for the anchors
        cold=cold,
        rerank=model.rerank.over(source) if model.rerank else None,
    )
    return aligned, known | anchored


def over(side: UserSide, source: npt.NDArray[np.integer[Any]]) -> UserSide:
    """Return a user side with the items `source`; unknown items contribute nothing to a user vector."""
    if isinstance(side, LeastSquares):
        return side
    return replace(side, sources=side.sources[source] * (source >= 0)[:, None])
