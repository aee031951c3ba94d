"""Rate of wrong promotions with many candidates on one holdout, and of right ones in a year of training.

`make bench-gate-attempts`, or `python -m benchmarks.gate_attempts [--only TABLE]`. One rule, as `accuracy held` of
params.yaml: a loss of 5 % against the champion is allowed. The estimated gain of a candidate is normal around its true
gain, with known variance, so that a single judgement keeps its level exactly and the tables measure only attempts. The
standard error is for users with a standard deviation of 1 of paired relative gains: 3.2 % at 1,000 users, 1 % at
10,000. Saved as `benchmarks/results/gate_attempts.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks import _results
from models.gate import attempts
from models.gate.attempts import Place

ALPHA, HALF, MAX_LOSS, SEED = 0.05, 30, 0.05, 42
SEARCHES, SEEDS = 200_000, 20
YEARS, DAYS, WINDOW = 400, 365, 36  # a tenth of a year is test
USERS = (1_000, 10_000)
GAINS = {"always 0": (0.0, 0.0), "always +1 %": (0.01, 0.0), "0, and 1 % of noise in training": (0.0, 0.01)}
Floats = npt.NDArray[np.float64]


def error(users: int) -> float:
    """Return the standard error of a relative gain."""
    return float(users**-0.5)


def z(level: float) -> float:
    return float(stats.norm.isf(level))


def levels(n: int) -> list[float]:
    """Return the levels of the candidates 1 to n on one holdout."""
    return [attempts.level(Place(number, 0), alpha=ALPHA, half=HALF) for number in range(1, n + 1)]


def at_levels() -> Iterator[dict[str, Any]]:
    """Yield a row per place: the level, its quantile, and its cost."""
    places = [Place(number, 0) for number in (1, 2, 5, 10, 20, 30, 37, 100, 365)] + [Place(1, r) for r in (1, 2, 3, 5)]
    for at in places:
        level = attempts.level(at, alpha=ALPHA, half=HALF)
        row: dict[str, Any] = {"split": at.line + 1, "candidate": at.number, "level": level, "z": round(z(level), 2)}
        for users in USERS:
            row[f"margin at {users:,}"] = round((z(level) - z(ALPHA)) * error(users), 4)
            for gain in (0.0, 0.01):
                power = stats.norm.sf(z(level) - (MAX_LOSS + gain) / error(users))
                row[f"promoted at {users:,}, gain {gain:.0%}"] = round(float(power), 3)
        yield row


def searches() -> Iterator[dict[str, Any]]:
    """Yield a row per true loss, users and correlation: share of searches over seeds in which any candidate passes."""
    rng = np.random.default_rng(SEED)
    reseeds = [attempts.level(Place(1, r), alpha=ALPHA, half=HALF) for r in range(SEEDS)]
    for loss in (0.05, 0.07):
        for users in USERS:
            for shared in (0.0, 0.15, 0.5):
                common, own = rng.normal(size=(SEARCHES, 1)), rng.normal(size=(SEARCHES, SEEDS))
                found = np.sqrt(shared) * common + np.sqrt(1 - shared) * own + (MAX_LOSS - loss) / error(users)
                passed = {
                    "one seed": found[:, :1] >= z(ALPHA),
                    "20 seeds before": found >= z(ALPHA),
                    "20 seeds now": found >= [z(level) for level in levels(SEEDS)],
                    "20 splits now": found >= [z(level) for level in reseeds],
                }
                rates = {name: round(float(each.any(axis=1).mean()), 4) for name, each in passed.items()}
                yield {"true loss": loss, "users": users, "correlation of seeds": shared} | rates


def years() -> Iterator[dict[str, Any]]:
    """Yield a row per candidate, split and users: days of a year with a promotion, and the longest time without."""
    for name, (gain, noise) in GAINS.items():
        for split, window in (("time", WINDOW), ("hash", None)):
            for users in USERS:
                row: dict[str, Any] = {"true gain": name, "split": split, "users": users}
                for rule in ("count", "spend"):
                    promoted = year(gain, noise, window, users, spends=rule == "spend")
                    what = {"count": "before", "spend": "now"}[rule]
                    row[f"days promoted {what}"] = round(float(promoted.sum(axis=1).mean()), 1)
                    row[f"longest wait {what}"] = round(float(np.median([longest(each) for each in promoted])))
                yield row


def year(gain: float, noise: float, window: int | None, users: int, *, spends: bool) -> npt.NDArray[np.bool_]:
    """Return the mask of days with a promotion, (YEARS, DAYS).

    Every model is better or worse by chance on the events of a day, independently of other models. A test set is of
    `window` days and moves on by one; None: it stays the same. A promoted model is champion from the next day on.
    """
    rng, days = np.random.default_rng(SEED), window or 1
    scale = error(users) * np.sqrt(days / 2)  # of a day: the mean of the difference of two models has error(users)
    asked = np.array([z(level) for level in (levels(DAYS) if spends else [ALPHA] * DAYS)])
    champion = rng.normal(scale=scale, size=(YEARS, days))
    began = np.zeros(YEARS, int)  # first day of the epoch
    promoted = np.zeros((YEARS, DAYS), bool)
    for day in range(DAYS):
        if window is not None:
            champion = np.column_stack([champion[:, 1:], rng.normal(scale=scale, size=YEARS)])
        candidate = rng.normal(scale=scale, size=(YEARS, days))
        true = gain + rng.normal(scale=noise, size=YEARS) if noise else gain
        estimate = true + (candidate - champion).mean(axis=1)
        earlier = day - began if window is None else np.minimum(day - began, window)
        passes = (estimate + MAX_LOSS) / error(users) >= asked[earlier]
        promoted[:, day] = passes
        champion = np.where(passes[:, None], candidate, champion)
        began = np.where(passes, day + 1, began)
    return promoted


def longest(promoted: npt.NDArray[np.bool_]) -> int:
    """Return the largest number of days between two promotions; the ends of the year count as promotions."""
    on = np.flatnonzero(np.concatenate([[True], promoted, [True]]))
    return int(np.diff(on).max()) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("levels", "searches", "years"))
    tables = {
        "levels": ("Level by place, and its cost", at_levels),
        "searches": ("Share of searches that promote a model that violates the rule", searches),
        "years": ("A year of training every day", years),
    }
    _results.run("gate_attempts", tables, parser.parse_args().only)


if __name__ == "__main__":
    main()
