"""One rule on one model: users' margins to the bound, and the p-values and intervals from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.evaluation.metric import Floats
from models.gate import bounded_mean
from models.gate.bounded_mean import ROUNDING
from models.gate.comparison import Measured
from models.gate.rule import Rule
from models.gate.rules import margin

Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Compared:
    """The two figures of a rule, on the same users."""

    rule: Rule
    ours: Measured
    theirs: Measured | None
    identical: bool = False  # the model is its own reference: the gain is 0 for any users

    def margins(self, limit: float) -> tuple[Floats, float, float]:
        """Return values (n,), with a mean of at least 0 if the effect reaches `limit`, and bounds of a value.

        With an upper bound: at least 0 if the effect does not exceed it.
        """
        of_ours, of_theirs, constant = margin(self.rule, limit)
        values = of_ours * self.ours.values + constant
        ends = [[of_ours * end for end in self.ours.ends(self.theirs)]]
        if self.theirs is not None:
            values = values + of_theirs * self.theirs.values
            ends.append([of_theirs * end for end in self.theirs.ends(self.ours)])
        if self.identical:
            values = np.full_like(values, values.mean())
            return values, float(values.mean()), float(values.mean())
        return values, sum(map(min, ends)) + constant, sum(map(max, ends)) + constant

    def p_values(self, limit: float) -> tuple[float, float]:
        """Return the p-values of "the effect does not reach `limit`" and of "it does"."""
        values, worst, best = self.margins(limit)
        if not len(values):
            return np.nan, np.nan
        if worst >= -ROUNDING:  # so that a bound that is met exactly is not violated as well
            return 0.0, 1.0
        return bounded_mean.p_value(values, worst), bounded_mean.p_value(-values, -best)

    def interval(self, effect: float, *, passing: float, confidence: float) -> Interval:
        """Return the confidence bounds of the effect: the largest limit surely reached, the smallest surely missed."""
        reaches, misses = (lambda limit: self.p_values(limit)[0]), (lambda limit: self.p_values(limit)[1])
        values, _, _ = self.margins(effect)
        if not len(values):
            return None, None
        unit = self.unit()
        step = max(2 * float(values.std()) / unit / np.sqrt(len(values)), 1e-6 * max(abs(effect), 1e-3))
        if self.rule.bounded_by().is_upper:
            low = bounded_mean.bound(misses, effect, step=-step, level=1 - confidence)
            high = bounded_mean.bound(reaches, effect, step=step, level=1 - passing)
        else:
            low = bounded_mean.bound(reaches, effect, step=-step, level=1 - passing)
            high = bounded_mean.bound(misses, effect, step=step, level=1 - confidence)
        return low, high

    def unit(self) -> float:
        """Return the fall of the margin per unit rise of the limit."""
        return self.theirs.value if self.theirs is not None and self.rule.relative else 1.0

    def users_needed(self, passing: float, confidence: float) -> int | None:
        """Return the number of users, with the same values, that would decide the rule."""
        values, worst, best = self.margins(self.rule.threshold())
        if not len(values):
            return None
        if values.mean() >= 0:
            return bounded_mean.users_needed(values, worst, level=1 - passing)
        return bounded_mean.users_needed(-values, -best, level=1 - confidence)
