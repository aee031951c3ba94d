"""How many dimensions a factorization gets when nobody says: as many as the data can use and an epoch can afford.

More dimensions with the same regularization never ranked worse where this was measured, since the penalty, not the
dimension, is what bounds the rank: the tail gains most. What bounds them is time. An epoch costs about pairs times d.
"""

from __future__ import annotations

SMALLEST, LARGEST = 64, 1024
WORK = 2 * 10**9  # pairs times d of an epoch: seconds on a few cores


def suited(n_pairs: int, n_users: int, n_items: int) -> int:
    """A power of two between 64 and 1024: not more than WORK allows, nor than half the rank that the data can have.

    n_users, n_items: those that have interactions.
    """
    d = LARGEST
    while d > SMALLEST and (d * n_pairs > WORK or 2 * d > min(n_users, n_items)):
        d //= 2
    return d
