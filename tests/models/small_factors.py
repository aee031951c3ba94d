"""A model small enough to reason about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.inference.factors import Factors
from models.inference.user_side import Floats, Layer, LeastSquares, Pooling


def small_factors(*, n_items: int, d: int, t: int = 2, seed: int = 0) -> Factors:
    """Random factors of a catalogue without cold items."""
    rng = np.random.default_rng(seed)
    item_factors = rng.normal(size=(n_items, d)).astype(np.float32)
    return Factors(
        item_factors=item_factors,
        gram=item_factors.T @ item_factors,
        popularity_bias=rng.random(n_items, np.float32),
        text_mean=np.zeros(t, np.float32),
        text_weights=rng.normal(size=(t + 1, d)).astype(np.float32),
        users=(LeastSquares(d, unobserved_weight=0.1, regularization=0.05, frequency_exponent=1.0),),
        n_warm_items=n_items,
    )


def pooled_factors(*, n_items: int, d: int, seed: int = 0) -> Factors:
    """Least squares in the first dimensions, beside a low-rank item-item part and a perceptron of one hidden layer."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Floats:
        return rng.normal(size=shape).astype(np.float32)

    layers = (Layer(normal(4, 6), normal(6)), Layer(normal(6, d), normal(d)))
    sides = (Pooling(normal(n_items, d), 0.5, scale=0.3), Pooling(normal(n_items, 4), 1.0, layers, scale=2.0))
    model = small_factors(n_items=n_items, d=3 * d, seed=seed)
    solved = LeastSquares(d, unobserved_weight=0.1, regularization=0.05, frequency_exponent=1.0, scale=0.7)
    return replace(model, users=(solved, *sides))
