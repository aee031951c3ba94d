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

Key = TypeVar("Key")
CELLS = 2**23  # numbers in the largest array of a chunk: 64 MiB


@dataclass(frozen=True)
class OfSums:
    """A figure (r,) of the sums (r, m) of users' values (n_users, m), each user as often as it counts."""

    values: Floats
    figure: Callable[[Floats], Floats]
    centred: bool


@dataclass(frozen=True)
class OfExposure:
    """A figure (r,) of the exposure (r, n_items) that users' lists give to the items."""

    shown: csr_array[Any]  # (n_users, n_items), which user is shown which item
    figure: Callable[[Floats], Floats]
    centred: bool = True


Statistic = OfSums | OfExposure


def mean_of(values: Floats) -> OfSums:
    """Weighted mean of values (n_users,) over the users where they are not NaN; NaN where no user is left."""
    present = ~np.isnan(values)
    columns = np.stack([np.where(present, values, 0.0), present.astype(np.float64)], axis=1)
    return OfSums(columns, lambda sums: ratio(sums[:, 0], sums[:, 1]), centred=False)


def estimates(statistics: Mapping[Key, Statistic], *, n_users: int) -> dict[Key, float]:
    """The value of each statistic on the users themselves."""
    return {key: float(values[0]) for key, values in Weighing(statistics).of(np.ones((1, n_users))).items()}


def distributions(statistics: Mapping[Key, Statistic], *, n_users: int, resamples: int, seed: int) -> dict[Key, Floats]:
    """Bootstrap distributions (resamples,), paired: entry b of all of them speaks of the same draw."""
    weighing = Weighing(statistics)
    drawn: dict[Key, list[Floats]] = {key: [] for key in statistics}
    rows = max(1, CELLS // max(n_users, weighing.n_items))
    for weights in draws(n_users, resamples=resamples, rows=rows, rng=np.random.default_rng(seed)):
        for key, values in weighing.of(weights).items():
            drawn[key].append(values)
    level = estimates(statistics, n_users=n_users)
    return {key: around(level[key], np.concatenate(drawn[key]), statistics[key].centred) for key in statistics}


def draws(n_users: int, *, resamples: int, rows: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Multinomial counts of n draws from n users, (r, n_users), `resamples` rows in all, at most `rows` at a time.

    Row by row, so that counting stays within the cache, and how many rows come together changes none of them.
    """
    for start in range(0, resamples, rows):
        weights = np.empty((min(rows, resamples - start), n_users))
        for row in weights:
            row[:] = np.bincount(rng.integers(n_users, size=n_users), minlength=n_users)
        yield weights


class Weighing:
    """Many statistics of the same users; what they have in common is computed once for all."""

    def __init__(self, statistics: Mapping[Key, Statistic]) -> None:
        sums = [(key, each) for key, each in statistics.items() if isinstance(each, OfSums)]
        self.sums = dict(sums)
        self.columns = np.hstack([each.values for _, each in sums]) if sums else None  # (n_users, all m together)
        lists = [(key, each) for key, each in statistics.items() if isinstance(each, OfExposure)]
        # float32 holds counts below 2^24 exactly, and half as much has to be moved
        self.lists = {key: (each.shown.T.tocsr().astype(np.float32), each.figure) for key, each in lists}
        self.n_items = max((shown.shape[0] for shown, _ in self.lists.values()), default=0)

    def of(self, weights: Floats) -> dict[Any, Floats]:
        """Values (r,) of all statistics for weights (r, n_users)."""
        found: dict[Any, Floats] = {}
        if self.columns is not None:
            totals, start = weights @ self.columns, 0
            for key, each in self.sums.items():
                stop = start + each.values.shape[1]
                found[key], start = each.figure(totals[:, start:stop]), stop
        if self.lists:
            by_user = np.ascontiguousarray(weights.T, np.float32)  # (n_users, r)
            for key, (by_item, figure) in self.lists.items():
                found[key] = figure((by_item @ by_user).T.astype(np.float64))  # of (r, n_items)
        return found


def around(level: float, values: Floats, centred: bool) -> Floats:
    """Values, moved so that their mean is `level` where centred; those equal to it up to rounding become exactly so."""
    deviation = values - (values.mean() if centred else level)
    deviation[np.abs(deviation) < 1e-12 * max(1.0, abs(level))] = 0.0
    return np.asarray(level + deviation)
