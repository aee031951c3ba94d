"""Candidates for re-ranking: a user's best items of the whole catalogue, and the best tail items.

Pure numpy, so that serving needs no torch. `models.ranking.ranking` finds the same candidates for many users at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.integer[Any]]

OVERALL = 200  # best items of the whole catalogue, at least the list's length ...
TAIL = 60  # ... and best tail items, including those among the former
DEPTH = 100  # the rank whose score is -1 in units of relevance


@dataclass(frozen=True)
class Candidates:
    """Candidates of `b` users, best first, ties in order of the item index."""

    items: Indices  # (b, c), padded with -1
    relevance: Floats  # (b, c), padded with -inf


def of_scores(scores: Floats, is_tail: Bools, *, k: int) -> Candidates:
    """Return the candidates (1, c) of a user for a list of k, from scores (n_items,); -inf marks excluded items."""
    of_tail = np.where(is_tail, scores, -np.inf).astype(np.float32)
    return join(*best(scores, max(OVERALL, k)), *best(of_tail, TAIL))


def best(scores: Floats, k: int) -> tuple[Indices, Floats]:
    """Return the items (1, k) of the k largest scores, ties by item index, and the scores; padded with -1 and -inf."""
    cut = np.partition(scores, -k)[-k] if k < len(scores) else -np.inf
    # more than k if there are ties at the cut
    reached = np.flatnonzero(scores >= cut if cut > -np.inf else scores > -np.inf)
    found = reached[np.argsort(-scores[reached], kind="stable")][:k]
    items, values = np.full((1, k), -1, np.int64), np.full((1, k), -np.inf, np.float32)
    items[0, : len(found)], values[0, : len(found)] = found, scores[found]
    return items, values


def join(items: Indices, scores: Floats, tail_items: Indices, tail_scores: Floats) -> Candidates:
    """Merge the best items (b, N) and the best tail items (b, M), both best first and padded with -1 and -inf."""
    last_item, last_score = items[:, -1:], scores[:, -1:]
    again = (tail_scores > last_score) | ((tail_scores == last_score) & (tail_items <= last_item))
    both = np.hstack([scores, np.where(again, -np.inf, tail_scores)]).astype(np.float32)
    return Candidates(np.hstack([items, np.where(again, -1, tail_items)]), relevance(both))


def relevance(scores: Floats) -> Floats:
    """Scale scores (b, c) to a unit for all users and models: 0 for the best, -1 for the hundredth of the catalogue.

    With fewer than a hundred, -1 is for the last; if all are equal, all are 0.
    """
    first = scores[:, :DEPTH]
    present = first > -np.inf
    top = np.where(present[:, 0], first[:, 0], 0)
    span = top - np.where(present, first, np.inf).min(axis=1)
    return ((scores - top[:, None]) / np.where(span > 0, span, 1)[:, None]).astype(np.float32)
