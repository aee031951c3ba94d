"""Default dimension of a factorization: as many as the data can use and an epoch can afford.

In all measurements more dimensions with the same regularization never ranked worse, since the penalty, not the
dimension, bounds the rank; the tail gains most. The limit is time: an epoch costs about pairs times d.
"""

from __future__ import annotations

SMALLEST, LARGEST = 64, 1024
WORK = 2 * 10**9  # pairs times d of an epoch: seconds on a few cores


def suited(n_pairs: int, n_users: int, n_items: int) -> int:
    """Return a power of two between 64 and 1024, within WORK and half of the largest rank that the data can have.

    n_users, n_items: with interactions.
    """
    d = LARGEST
    while d > SMALLEST and (d * n_pairs > WORK or 2 * d > min(n_users, n_items)):
        d //= 2
    return d
