"""Time cutoffs, hash buckets, head and tail, and the digests that identify the holdout of a figure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]


class Cutoffs(NamedTuple):
    """train < valid_from <= valid < test_from <= test, in the unit of the times they were found in."""

    valid_from: int
    test_from: int
    deviation: float  # larger relative deviation of the two shares from the requested ones


def time_cutoffs(times: Ints, counts: Ints, *, valid: float, test: float) -> Cutoffs:
    """Return the two times closest to the shares `valid` and `test` of events, such that no part is empty.

    times: distinct, ascending, (m,). counts: events at each time, (m,). Events of one time stay together.
    Raises ValueError for fewer than three times.
    """
    if len(times) < 3:
        raise ValueError(f"a split by time needs 3 distinct timestamps, found {len(times)}")
    before = np.cumsum(counts) - counts  # (m,) events earlier than each time
    n = int(counts.sum())
    j = 2 + int(np.argmin(np.abs(before[2:] - (1 - test) * n)))
    i = 1 + int(np.argmin(np.abs(before[1:j] - (1 - test - valid) * n)))
    found = (before[j] - before[i]) / n, (n - before[j]) / n
    deviation = max(abs(found[0] - valid) / valid, abs(found[1] - test) / test)
    return Cutoffs(int(times[i]), int(times[j]), float(deviation))


def bucket_bound(share: float) -> str:
    """Return eight hex digits; a uniform hash is below them, compared as text, with probability `share` < 1."""
    return f"{int(share * 2**32):08x}"


def head_items(popularity: Ints, share: float) -> npt.NDArray[np.bool_]:
    """Return the mask (n,) of the smallest set of most popular items with `share` of all interactions.

    popularity: interactions of each item, (n,), in the order of item_id, which breaks ties. The item that crosses the
    share is part of the head. All other items, with or without interactions, are the tail.
    """
    # exact: 0.7 * 10 is 7.000000000000001 in floats, which would add an item
    needed = math.ceil(Fraction(repr(share)) * int(popularity.sum()))
    order = np.argsort(-popularity.astype(np.int64), kind="stable")
    held_before = np.cumsum(popularity[order]) - popularity[order]
    head = np.zeros(len(popularity), bool)
    head[order] = held_before < needed
    return head


def tail_sha256(item_ids: Iterable[str], *, head_share: float) -> str:
    """Return the digest of a tail: of the share that defines it and its item_ids, in any order."""
    lines = [f"head_share={head_share!r}", *sorted(item_ids)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def holdout_sha256(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the digest of a test set from its (user_id, item_id) pairs in ascending order, in constant memory."""
    digest = hashlib.sha256()
    for user_id, item_id in pairs:
        digest.update(f"{user_id}\t{item_id}\n".encode())
    return digest.hexdigest()
