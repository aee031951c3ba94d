"""Paired bootstrap over users: how a metric of several models would vary with other users of the same kind.

Every resample draws n users with replacement and judges all models on the same draw, so that what is common to the
models cancels in their difference (Efron and Tibshirani 1993, An Introduction to the Bootstrap).

Distributions of figures of all lists together are centred, theta_hat + (theta* - mean theta*): a resample holds about
63 % of the users, each maybe several times, so it shows fewer items than the users themselves do; its spread is
informative, its level is not. Those of means are not, so that whatever raises users' values raises every resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_array

from models.metrics import Floats, ratio

Weighted = Callable[[Floats], Floats]  # weights of users (r, n_users) -> values (r,)
Key = TypeVar("Key")
CELLS = 2**23  # numbers in the largest array of a chunk: 64 MiB


@dataclass(frozen=True)
class Statistic:
    """A figure as a function of how often each user counts."""

    of: Weighted
    centred: bool


def mean_of(values: Floats) -> Statistic:
    """Weighted mean of values (n_users,) over the users where they are not NaN; NaN where no user is left."""
    present = ~np.isnan(values)
    filled, ones = np.where(present, values, 0.0), present.astype(np.float64)

    return Statistic(lambda weights: ratio(weights @ filled, weights @ ones), centred=False)


def of_exposure(shown: csr_array[Any], figure: Callable[[Floats], Floats]) -> Statistic:
    """A figure of the exposure (r, n_items) that the weighted users' lists (n_users, n_items) give to the items."""
    by_item = shown.T.tocsr()  # (n_items, n_users)

    def of(weights: Floats) -> Floats:
        rows = max(1, CELLS // max(by_item.shape[0], 1))
        parts = [weights[start : start + rows] for start in range(0, len(weights), rows)]
        return np.concatenate([figure((by_item @ part.T).T) for part in parts])

    return Statistic(of, centred=True)


def estimates(statistics: Mapping[Key, Statistic], *, n_users: int) -> dict[Key, float]:
    """The value of each statistic on the users themselves."""
    return {key: float(statistic.of(np.ones((1, n_users)))[0]) for key, statistic in statistics.items()}


def distributions(statistics: Mapping[Key, Statistic], *, n_users: int, resamples: int, seed: int) -> dict[Key, Floats]:
    """Bootstrap distributions (resamples,), paired: entry b of all of them speaks of the same draw."""
    drawn: dict[Key, list[Floats]] = {key: [] for key in statistics}
    for weights in draws(n_users, resamples=resamples, rng=np.random.default_rng(seed)):
        for key, statistic in statistics.items():
            drawn[key].append(statistic.of(weights))
    level = estimates(statistics, n_users=n_users)
    return {key: around(level[key], np.concatenate(drawn[key]), statistics[key].centred) for key in statistics}


def draws(n_users: int, *, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Multinomial counts of n draws from n users, (r, n_users), `resamples` rows in all, chunk by chunk."""
    rows = max(1, CELLS // n_users)
    for start in range(0, resamples, rows):
        r = min(rows, resamples - start)
        chosen = rng.integers(n_users, size=(r, n_users))
        chosen += np.arange(r)[:, None] * n_users
        yield np.bincount(chosen.ravel(), minlength=r * n_users).reshape(r, n_users).astype(np.float64)


def around(level: float, values: Floats, centred: bool) -> Floats:
    """Values, moved so that their mean is `level` where centred; those equal to it up to rounding become exactly so."""
    deviation = values - (values.mean() if centred else level)
    deviation[np.abs(deviation) < 1e-12 * max(1.0, abs(level))] = 0.0
    return np.asarray(level + deviation)
