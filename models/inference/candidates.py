"""The items that re-ranking chooses from: a user's best ones of the whole catalogue, and the best ones of the tail.

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

OVERALL = 200  # best items of the whole catalogue, or as many as the list is long ...
TAIL = 60  # ... and best items of the tail, those among the former included
DEPTH = 100  # the rank whose score is -1 in units of relevance


@dataclass(frozen=True)
class Candidates:
    """Of `b` users, best first, equal ones in order of the item index."""

    items: Indices  # (b, c), -1 where there is none
    relevance: Floats  # (b, c), -inf where there is none


def of_scores(scores: Floats, is_tail: Bools, *, k: int) -> Candidates:
    """Candidates (1, c) of one user for a list of k, from scores (n_items,); -inf marks items that must not appear."""
    of_tail = np.where(is_tail, scores, -np.inf).astype(np.float32)
    return join(*best(scores, max(OVERALL, k)), *best(of_tail, TAIL))


def best(scores: Floats, k: int) -> tuple[Indices, Floats]:
    """Items (1, k) of the k largest scores, ties in order of the item index, and their scores; ends in -1 and -inf."""
    cut = np.partition(scores, -k)[-k] if k < len(scores) else -np.inf
    # more than k where several are equal to the cut
    reached = np.flatnonzero(scores >= cut if cut > -np.inf else scores > -np.inf)
    found = reached[np.argsort(-scores[reached], kind="stable")][:k]
    items, values = np.full((1, k), -1, np.int64), np.full((1, k), -np.inf, np.float32)
    items[0, : len(found)], values[0, : len(found)] = found, scores[found]
    return items, values


def join(items: Indices, scores: Floats, tail_items: Indices, tail_scores: Floats) -> Candidates:
    """Candidates of the best items (b, N) and the best tail items (b, M), both best first and ended by -1 and -inf."""
    last_item, last_score = items[:, -1:], scores[:, -1:]
    again = (tail_scores > last_score) | ((tail_scores == last_score) & (tail_items <= last_item))
    both = np.hstack([scores, np.where(again, -np.inf, tail_scores)]).astype(np.float32)
    return Candidates(np.hstack([items, np.where(again, -1, tail_items)]), relevance(both))


def relevance(scores: Floats) -> Floats:
    """Scores (b, c) in a unit that suits every user and model: 0 for the best, -1 for the hundredth of the catalogue.

    Where there are fewer than a hundred it is the last; where all are equal all are 0.
    """
    first = scores[:, :DEPTH]
    present = first > -np.inf
    top = np.where(present[:, 0], first[:, 0], 0)
    span = top - np.where(present, first, np.inf).min(axis=1)
    return ((scores - top[:, None]) / np.where(span > 0, span, 1)[:, None]).astype(np.float32)
