"""Paired bootstrap over users: how a metric of several models would vary with other users of the same kind.

Every resample draws n users with replacement and judges all models on the same draw, so that what is common to the
models cancels in their difference (Efron and Tibshirani 1993, An Introduction to the Bootstrap).

All distributions are centred, theta_hat + (theta* - mean theta*). For means that removes only simulation noise. For
coverage it is what makes the interval right: a resample holds about 63 % of the users, each maybe several times, so it
shows fewer items than the users themselves do; its spread is informative, its level is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_array

from models.metrics import Floats, ratio

Statistic = Callable[[Floats], Floats]  # weights of users (r, n_users) -> values (r,)
Key = TypeVar("Key")
CELLS = 2**23  # numbers in the largest array of a chunk: 64 MiB


def mean_of(values: Floats) -> Statistic:
    """Weighted mean of values (n_users,) over the users where they are not NaN; NaN where no user is left."""
    present = ~np.isnan(values)
    filled, ones = np.where(present, values, 0.0), present.astype(np.float64)

    def statistic(weights: Floats) -> Floats:
        total = weights @ ones
        return ratio(weights @ filled, total)

    return statistic


def of_exposure(shown: csr_array[Any], figure: Callable[[Floats], Floats]) -> Statistic:
    """A figure of the exposure (r, n_items) that the weighted users' lists (n_users, n_items) give to the items."""
    by_item = shown.T.tocsr()  # (n_items, n_users)

    def statistic(weights: Floats) -> Floats:
        rows = max(1, CELLS // max(by_item.shape[0], 1))
        parts = [weights[start : start + rows] for start in range(0, len(weights), rows)]
        return np.concatenate([figure((by_item @ part.T).T) for part in parts])

    return statistic


def estimates(statistics: Mapping[Key, Statistic], *, n_users: int) -> dict[Key, float]:
    """The value of each statistic on the users themselves."""
    return {key: float(statistic(np.ones((1, n_users)))[0]) for key, statistic in statistics.items()}


def distributions(statistics: Mapping[Key, Statistic], *, n_users: int, resamples: int, seed: int) -> dict[Key, Floats]:
    """Centred bootstrap distributions (resamples,), paired: entry b of all of them speaks of the same draw."""
    drawn: dict[Key, list[Floats]] = {key: [] for key in statistics}
    for weights in draws(n_users, resamples=resamples, rng=np.random.default_rng(seed)):
        for key, statistic in statistics.items():
            drawn[key].append(statistic(weights))
    level = estimates(statistics, n_users=n_users)
    return {key: centred(np.concatenate(parts), level[key]) for key, parts in drawn.items()}


def draws(n_users: int, *, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Multinomial counts of n draws from n users, (r, n_users), `resamples` rows in all, chunk by chunk."""
    rows = max(1, CELLS // n_users)
    for start in range(0, resamples, rows):
        r = min(rows, resamples - start)
        chosen = rng.integers(n_users, size=(r, n_users))
        chosen += np.arange(r)[:, None] * n_users
        yield np.bincount(chosen.ravel(), minlength=r * n_users).reshape(r, n_users).astype(np.float64)


def centred(values: Floats, level: float) -> Floats:
    """Values moved so that their mean is `level`; those equal up to rounding become exactly equal."""
    deviation = values - values.mean()
    deviation[np.abs(deviation) < 1e-12 * max(1.0, abs(level))] = 0.0
    moved: Floats = level + deviation
    return moved
