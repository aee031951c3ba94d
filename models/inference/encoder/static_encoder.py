"""A static encoder, distilled from a larger one: a text's vector is a sum over its tokens, an approximation.

Each token starts with the encoder's vector of that token alone; frequent tokens have smaller weights (Arora, Liang and
Ma 2017); one linear map, fitted on texts with known vectors, maps the sums to the encoder's vectors. Without a
transformer, a text costs one addition per token; word order and context are lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
RARE = 0.03  # a token with this share of all tokens has half the weight
RIDGE = 1e-5  # relative to the mean variance of the sums, which are short: an absolute ridge of one would flatten them


def distilled(alone: Floats, tokens: Sequence[Sequence[int]], vectors: Floats) -> Floats:
    """Return the table (v, t) of tokens; alone: the encoder's (v, t); tokens: of texts with unit vectors (n, t)."""
    counts = np.bincount(np.fromiter((i for ids in tokens for i in ids), np.int64), minlength=len(alone))
    weights = RARE / (RARE + counts / max(1, counts.sum()))
    table = (alone * weights[:, None]).astype(np.float32)
    sums = np.stack([unit(table[list(ids)].sum(axis=0)) for ids in tokens]).astype(np.float64)  # (n, t)
    gram = sums.T @ sums
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    fitted: Floats = (table @ np.linalg.solve(gram, sums.T @ vectors)).astype(np.float32)
    return fitted


def vector(table: npt.NDArray[np.floating], ids: Sequence[int]) -> Floats:
    """Return the unit vector (t,) of a text's tokens."""
    return unit(table[list(ids)].astype(np.float32).sum(axis=0))


def unit(x: Floats) -> Floats:
    found: Floats = x / max(float(np.linalg.norm(x)), 1e-12)
    return found
