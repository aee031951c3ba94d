"""A text's vector as a sum over its tokens: a table distilled from an encoder, for when coarse is good enough.

Each token starts as the encoder's vector of that token alone; frequent ones count for less (Arora, Liang and Ma 2017);
and one linear map, fitted on texts whose vectors are known, turns their sum towards the encoder's own. No transformer
is run, so that a text costs as many additions as it has tokens; word order and context are lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
RARE = 0.03  # a token with this share of all tokens counts half
RIDGE = 1e-5  # of what a direction of the sums amounts to on average; a ridge of one would flatten them, they are short


def distilled(alone: Floats, tokens: Sequence[Sequence[int]], vectors: Floats) -> Floats:
    """Table (v, t) of tokens; alone: their vectors (v, t) by the encoder; tokens: of texts with unit vectors (n, t)."""
    counts = np.bincount(np.fromiter((i for ids in tokens for i in ids), np.int64), minlength=len(alone))
    weights = RARE / (RARE + counts / max(1, counts.sum()))
    table = (alone * weights[:, None]).astype(np.float32)
    sums = np.stack([unit(table[list(ids)].sum(axis=0)) for ids in tokens]).astype(np.float64)  # (n, t)
    gram = sums.T @ sums
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    fitted: Floats = (table @ np.linalg.solve(gram, sums.T @ vectors)).astype(np.float32)
    return fitted


def vector(table: npt.NDArray[np.floating], ids: Sequence[int]) -> Floats:
    """Unit vector (t,) of a text's tokens."""
    return unit(table[list(ids)].astype(np.float32).sum(axis=0))


def unit(x: Floats) -> Floats:
    found: Floats = x / max(float(np.linalg.norm(x)), 1e-12)
    return found
