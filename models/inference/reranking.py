"""Tail re-ranking: each position of a list, in order, gets the candidate with the largest relevance plus bonus.

The methods differ in the bonus of item i for user u, λ being their strength:

    none        0
    popularity  -λ t_u p_i at every position: p_i log-popularity in [0, 1], t_u the tail's share of the user's
                history, so that users with more tail items in their history get more of them
    xquad       λ P(c|u) (1 - share of c among the positions so far), c the segment (head, tail) of i and P(c|u)
                its share of the history (smooth xQuAD of Abdollahpouri et al. 2019, arXiv:1901.07555, which weighs
                relevance with 1 - λ' and this with λ', λ = λ' / (1 - λ'))
    slots       λ / (1 + e_i) for tail items, at the last two of every five positions: e_i is the item's exposure in
                lists, so that items with little exposure come first; a large λ reserves these positions for the tail

Every list is a prefix of every longer one. Ties are broken by score, then by item index. Pure numpy, and the same rule
for many users as for a single request, so that the judged lists are the served ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.inference.candidates import Bools, Candidates, Floats, Indices

METHODS = ("none", "popularity", "xquad", "slots")
STRONGEST = 4.0  # of a requested tail emphasis
PERIOD, FIRST_SLOT = 5, 3  # of every five positions those from the fourth on are slots


@dataclass(frozen=True)
class Rerank:
    """A method over a catalogue of `n` items."""

    method: str
    strength: float  # λ, in units of relevance; 0: no re-ranking
    is_tail: Bools  # (n,)
    against: Floats  # (n,): p_i or e_i, which lower an item's bonus; zeros if the method uses neither

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown method or an invalid strength."""
        if self.method not in METHODS:
            raise ValueError(f"re-ranking method {self.method!r} is unknown; the methods are {', '.join(METHODS)}")
        if not (np.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"strength {self.strength} of {self.method} is not a finite number ≥ 0; correct it")

    def tail_share(self, history: Indices, weights: npt.NDArray[np.floating[Any]] | None = None) -> Floats:
        """Return the tail's share (1,) of a history (h,), optionally weighted; 0 if it is empty."""
        w = np.ones(len(history)) if weights is None else np.asarray(weights, np.float64)
        return np.array([self.is_tail[history] @ w / max(w.sum(), np.finfo(np.float64).tiny)], np.float32)

    def over(self, source: Indices) -> Rerank:
        """Return the method over another catalogue (m,): source: an item's row here, -1 for a new item (tail)."""
        known = source >= 0
        return replace(self, is_tail=self.is_tail[source] | ~known, against=self.against[source] * known)


def preferring(popularity: Floats, is_tail: Bools) -> Rerank:
    """Return the method for a requested tail emphasis from 0 to 1, which takes the place of `tail_share`.

    popularity: (n,), p_i. The mean p_i of a list falls monotonically with the emphasis: at 0 it is in order of
    relevance, at 1 popularity counts as much as at the largest strength of judged lists.
    """
    return Rerank("popularity", STRONGEST, is_tail, popularity)


def none(is_tail: Bools) -> Rerank:
    """Return the method without re-ranking: lists in order of the scores."""
    return Rerank("none", 0.0, is_tail, np.zeros(len(is_tail), np.float32))


def rerank(how: Rerank, candidates: Candidates, tail_share: Floats, *, k: int) -> npt.NDArray[np.int32]:
    """Return lists (b, k) of item indices, padded with -1. tail_share: (b,), of the users' histories."""
    if len(candidates.items) == 1:
        return rerank_one(how, candidates.items[0], candidates.relevance[0], float(tail_share[0]), k=k)[None]
    return fill(how, candidates, tail_share, places=range(k))


def rerank_one(how: Rerank, items: Indices, relevance: Floats, tail_share: float, *, k: int) -> npt.NDArray[np.int32]:
    """Return the list (k,) of one user's candidates (c,), as `fill` but without arrays of one row, for a request."""
    present = np.flatnonzero(relevance > -np.inf)
    items, left = items[present], relevance[present].copy()
    bonus = fixed_bonus(how, items)
    if how.method in ("none", "popularity"):
        chosen = np.argsort(-(left + np.float32(tail_share) * bonus), kind="stable")[:k].tolist()
    else:
        chosen, is_tail, shown = [], how.is_tail[items], 0
        share, strength = np.float32(tail_share), np.float32(how.strength)
        for place in range(min(k, len(items))):
            if how.method == "xquad":
                of_tail = strength * (share * (1 - np.float32(shown) / max(place, 1)))
                of_head = strength * ((1 - share) * (1 - np.float32(place - shown) / max(place, 1)))
                best = int((left + np.where(is_tail, of_tail, of_head)).argmax())
            else:
                best = int((left + bonus if place % PERIOD >= FIRST_SLOT else left).argmax())
            chosen.append(best)
            shown += bool(is_tail[best])
            left[best] = -np.inf
    listed = np.full(k, -1, np.int32)
    listed[: len(chosen)] = items[chosen]
    return listed


def fill(how: Rerank, candidates: Candidates, tail_share: Floats, *, places: range) -> npt.NDArray[np.int32]:
    """Return the items at consecutive positions (b, len(places)) of lists; earlier positions took no candidate."""
    items, left = candidates.items, candidates.relevance.copy()  # (b, c)
    bonus = np.where(items >= 0, fixed_bonus(how, items), 0)  # (b, c)
    if how.method == "popularity":
        left += tail_share[:, None] * bonus
    is_tail, rows = how.is_tail[items], np.arange(len(items))
    shown = np.zeros(len(items), np.float32)  # tail items so far
    lists = np.full((len(items), len(places)), -1, np.int32)
    for column, place in enumerate(places):
        worth = left
        if how.method == "slots" and place % PERIOD >= FIRST_SLOT:
            worth = left + bonus
        elif how.method == "xquad":
            worth = left + how.strength * lacking(is_tail, shown, tail_share, place)
        chosen = worth.argmax(axis=1)  # (b,), the first of equals
        found = left[rows, chosen] > -np.inf
        lists[found, column] = items[found, chosen[found]]
        shown += found & is_tail[rows, chosen]
        left[rows, chosen] = -np.inf
    return lists


def fixed_bonus(how: Rerank, items: Indices) -> Floats:
    """Return the part of the bonus of items (b, c) that depends on the item alone."""
    against = how.against[items]
    if how.method == "popularity":
        return -np.float32(how.strength) * against
    if how.method == "slots":
        return np.float32(how.strength) / (1 + against) * how.is_tail[items]
    return np.zeros_like(against)


def lacking(is_tail: Bools, shown: Floats, tail_share: Floats, place: int) -> Floats:
    """Return P(c|u) (1 - share of c among the positions so far) for candidates (b, c), with `shown` (b,) tail items."""
    of_tail = tail_share * (1 - shown / max(place, 1))
    of_head = (1 - tail_share) * (1 - (place - shown) / max(place, 1))
    return np.where(is_tail, of_tail[:, None], of_head[:, None])
