"""The k largest scores of every row, on the CPU: `models.ranking.ranking.top_k` compiled by Numba.

A row is read twice while it is in the cache. First for the maximum of each of some hundred groups of items: the k-th
largest maximum is a bound that at least k items reach, and few more. Then for the items that reach it; only they are
sorted, by score and then by item index. One thread; callers distribute the rows, which are independent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from models.compute import compiled

compiled.share(__file__)

Floats = npt.NDArray[np.float32]
Items = npt.NDArray[np.int32]

GROUPS = 16  # per wanted item: more groups bring the bound closer to the k-th score, but have to be ordered
HALVINGS = 16  # steps of bisection to the bound; a loose one costs only time
BLOCK = 192  # items compared with the bound at a time
LOW, HALF = np.float32(-np.inf), np.float32(0.5)


def best(scores: Floats, among: Floats, *, k: int) -> tuple[Items, Floats]:
    """Return the items (b, k) of the largest scores (b, n_items), best first, ties in order, and their scores.

    Padded with -1 and -inf if there are fewer items above -inf. among: (n_items,) zeros, -inf for excluded items, or
    empty without exclusions. Raises ValueError if a score is NaN.
    """
    items = np.full((len(scores), k), -1, np.int32)
    values = np.full((len(scores), k), LOW, np.float32)
    if not _best(scores, among, items, values):
        raise ValueError("scores hold NaN: the model is damaged or its training diverged; run `dvc repro train`")
    return items, values


@njit(cache=True, nogil=True)
def _best(scores: Floats, among: Floats, items: Items, values: Floats) -> bool:
    """Fill items and values; return False if a score is NaN."""
    n, k = scores.shape[1], items.shape[1]
    maxima, keys = np.empty(min(n, GROUPS * k), np.float32), np.empty(n, np.int64)
    for row in range(len(scores)):
        maxima[:] = LOW
        bound = _bound(scores[row], among, maxima, min(k, len(maxima)))
        found = _reaching(scores[row], among, bound, keys)
        if found < 0:
            return False
        ordered = np.sort(keys[:found])
        for place in range(min(k, found)):
            item = np.int32(ordered[place] & 0xFFFFFFFF)
            items[row, place], values[row, place] = item, scores[row, item]
    return True


@njit(cache=True, inline="always")
def _bound(scores: Floats, among: Floats, maxima: Floats, k: int) -> np.float32:
    """Return a bound that k or slightly more group maxima reach; item i is in group i modulo their number."""
    for start in range(0, len(scores), len(maxima)):
        part = scores[start : start + len(maxima)]  # the compiler vectorizes only indices from 0
        if len(among) > 0:
            open_to = among[start : start + len(maxima)]
            for j in range(len(part)):
                score = part[j] + open_to[j]
                maxima[j] = score if score > maxima[j] else maxima[j]
        else:
            for j in range(len(part)):
                maxima[j] = part[j] if part[j] > maxima[j] else maxima[j]
    low, high, finite = np.float32(np.inf), LOW, 0
    for j in range(len(maxima)):
        if maxima[j] > LOW:  # LOW has no midpoint
            low, high, finite = min(low, maxima[j]), max(high, maxima[j]), finite + 1
    if finite < k:
        return LOW
    for _ in range(HALVINGS):
        middle, reached = HALF * low + HALF * high, np.int32(0)
        for j in range(len(maxima)):
            reached += np.int32(1) if maxima[j] >= middle else np.int32(0)
        if reached >= k:
            low = middle
        else:
            high = middle
        if reached == k:
            break
    return low


@njit(cache=True, inline="always")
def _reaching(scores: Floats, among: Floats, bound: np.float32, keys: Any) -> int:
    """Return the number of items that reach the bound, with their keys in list order; -1 if a score is NaN."""
    found = 0
    for start in range(0, len(scores), BLOCK):
        part, reached = scores[start : start + BLOCK], np.int32(0)
        open_to = among[start : start + BLOCK]
        if len(open_to) > 0:
            for j in range(len(part)):
                reached |= np.int32(0) if part[j] + open_to[j] < bound else np.int32(1)  # also for NaN
        else:
            for j in range(len(part)):
                reached |= np.int32(0) if part[j] < bound else np.int32(1)
        if reached:
            for j in range(len(part)):
                score = part[j] + open_to[j] if len(open_to) > 0 else part[j]
                if score != score:
                    return -1
                if score >= bound and score > LOW:
                    keys[found] = (_descending(score) << 32) | (start + j)
                    found += 1
    return found


@njit(cache=True, inline="always")
def _descending(score: np.float32) -> Any:
    """Return an integer that decreases with the score, below 2^31 in size; equal for 0 and -0."""
    bits = np.int64(np.float32(score + np.float32(0)).view(np.int32))
    return -bits if bits >= 0 else bits & 0x7FFFFFFF
