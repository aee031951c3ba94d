"""A model small enough to reason about."""

from __future__ import annotations

import numpy as np

from models.factors import Factors


def small_factors(*, n_items: int, d: int, t: int = 2, tail_strength: float = 0.0, seed: int = 0) -> Factors:
    """Random factors of a catalogue without cold items."""
    rng = np.random.default_rng(seed)
    item_factors = rng.normal(size=(n_items, d)).astype(np.float32)
    return Factors(
        item_factors=item_factors,
        gram=item_factors.T @ item_factors,
        popularity_bias=rng.random(n_items, np.float32),
        text_mean=np.zeros(t, np.float32),
        text_weights=rng.normal(size=(t + 1, d)).astype(np.float32),
        unobserved_weight=0.1,
        user_regularization=0.05,
        frequency_exponent=1.0,
        n_warm_items=n_items,
        tail_strength=tail_strength,
    )
