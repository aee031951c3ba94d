"""Exposure prices for `slots`: the exposure of every item in lists that are re-ranked by these prices.

Over the first ten positions of the lists of many users this maximizes

    Σ_u Σ_slots relevance + λ Σ_tail log(1 + e_i),    e_i: exposure of item i in the lists

by Frank-Wolfe (for rankings: Do et al. 2021, arXiv:2110.15781): the best lists for prices λ / (1 + e_i) are those of
`rerank`, and their exposure is mixed into e with a falling weight. The order of users does not matter, and the learned
prices are constants in serving.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.inference.candidates import Candidates, Floats, Indices
from models.inference.reranking import FIRST_SLOT, Rerank, fill

K = 10
PASSES = 50


def learn(how: Rerank, candidates: Candidates, *, passes: int = PASSES) -> Rerank:
    """Return `how`, of method slots, with the exposure of tail items in these users' lists of ten as prices."""
    n, first = len(how.is_tail), FIRST_SLOT  # before the first slot a list is in order of relevance
    before, rest = count(candidates.items[:, :first], n), narrow(candidates, how)
    rest = Candidates(rest.items[:, first:], rest.relevance[:, first:])
    no_shares = np.zeros(len(rest.items), np.float32)
    exposure = np.zeros(n, np.float32)
    for number in range(passes):
        lists = fill(replace(how, against=exposure), rest, no_shares, places=range(first, K))
        exposure += (before + count(lists, n) - exposure) * np.float32(2 / (number + 2))
    return replace(how, against=exposure * how.is_tail)


def count(items: Indices, n: int) -> Floats:
    """Return how often each of n items occurs; -1 is padding."""
    return np.bincount(items[items >= 0], minlength=n).astype(np.float32)


def narrow(candidates: Candidates, how: Rerank) -> Candidates:
    """Return the candidates that can enter lists of ten: the best ten, and those that may beat one of them."""
    tail = how.is_tail[candidates.items] & (candidates.items >= 0)
    needed = tail & (candidates.relevance + how.strength >= candidates.relevance[:, K - 1 : K])
    needed[:, :K] = True
    columns = np.argsort(~needed, axis=1, kind="stable")[:, : needed.sum(axis=1).max()]
    items = np.take_along_axis(candidates.items, columns, axis=1)
    return Candidates(items, np.take_along_axis(candidates.relevance, columns, axis=1))
