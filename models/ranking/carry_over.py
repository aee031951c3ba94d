"""An older model over the current catalogue, so that both can be judged on the same holdout."""

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
    """The model with one row per current item, and which of them (n_items,) it can recommend.

    source: (n_items,) the item's row in the model, -1 where the model does not know it. Such items get the model's text
    anchor where `embeddings` (n_items, t) of the model's own encoder are given; without, they are not recommendable.
    """
    known = source >= 0
    item_factors = model.item_factors[source] * known[:, None]
    popularity_bias = model.popularity_bias[source] * known  # nobody had touched what the model does not know
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
        neighbours=None,  # they are items of the model's own catalogue, and have said what they know
        cold=cold,
        rerank=model.rerank.over(source) if model.rerank else None,
    )
    return aligned, known | anchored


def over(side: UserSide, source: npt.NDArray[np.integer[Any]]) -> UserSide:
    """A user side whose items are `source`; one that it does not know says nothing of who touched it."""
    if isinstance(side, LeastSquares):
        return side
    return replace(side, sources=side.sources[source] * (source >= 0)[:, None])
