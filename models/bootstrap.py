"""Paired bootstrap over users: how a metric of several models would vary with other users of the same kind.

Every resample draws n users with replacement and judges all models on the same draw, so that what is common to the
models cancels in their difference (Efron and Tibshirani 1993, An Introduction to the Bootstrap).

Figures of the exposure that all lists give are resampled to first order, by what each user adds (`leave_one_out`).
Distributions of ratios of sums are centred, theta_hat + (theta* - mean theta*). Those of means are neither, so that
whatever raises users' values raises every resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from models.metrics import Floats, ratio

Key = TypeVar("Key")
CELLS = 2**23  # numbers in the largest array of a chunk: 64 MiB


@dataclass(frozen=True)
class Statistic:
    """A figure (r,) of the sums (r, m) of users' values (n_users, m), each user as often as it counts."""

    values: Floats
    figure: Callable[[Floats], Floats]
    centred: bool


def mean_of(values: Floats) -> Statistic:
    """Weighted mean of values (n_users,) over the users where they are not NaN; NaN where no user is left."""
    present = ~np.isnan(values)
    columns = np.stack([np.where(present, values, 0.0), present.astype(np.float64)], axis=1)
    return Statistic(columns, lambda sums: ratio(sums[:, 0], sums[:, 1]), centred=False)


def first_order(level: float, losses: Floats) -> Statistic:
    """A figure of the value `level` that loses `losses` (n_users,) without each user: level + Σ (w_u - 1) losses_u."""
    total = float(losses.sum())
    return Statistic(losses[:, None], lambda sums: around(level, level + (sums[:, 0] - total), False), centred=False)


def estimates(statistics: Mapping[Key, Statistic], *, n_users: int) -> dict[Key, float]:
    """The value of each statistic on the users themselves."""
    return {key: float(values[0]) for key, values in weighed(statistics, np.ones((1, n_users))).items()}


def distributions(statistics: Mapping[Key, Statistic], *, n_users: int, resamples: int, seed: int) -> dict[Key, Floats]:
    """Bootstrap distributions (resamples,), paired: entry b of all of them speaks of the same draw."""
    drawn: dict[Key, list[Floats]] = {key: [] for key in statistics}
    rows = max(1, CELLS // n_users)
    for weights in draws(n_users, resamples=resamples, rows=rows, rng=np.random.default_rng(seed)):
        for key, values in weighed(statistics, weights).items():
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


def weighed(statistics: Mapping[Key, Statistic], weights: Floats) -> dict[Key, Floats]:
    """Values (r,) of all statistics for weights (r, n_users), by one product."""
    totals, start = weights @ np.hstack([each.values for each in statistics.values()]), 0  # (r, all m together)
    found: dict[Key, Floats] = {}
    for key, each in statistics.items():
        stop = start + each.values.shape[1]
        found[key], start = each.figure(totals[:, start:stop]), stop
    return found


def around(level: float, values: Floats, centred: bool) -> Floats:
    """Values, moved so that their mean is `level` where centred; those equal to it up to rounding become exactly so."""
    deviation = values - (values.mean() if centred else level)
    deviation[np.abs(deviation) < 1e-12 * max(1.0, abs(level))] = 0.0
    return np.asarray(level + deviation)
