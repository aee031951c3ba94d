"""One rule of a policy: a bound on an effect, and what the effect's bootstrap distribution says about it.

An effect is a metric's value, or its gain over a reference on the same users. One-sided at the given confidence: pass
where the bound holds, fail where it is violated, inconclusive where neither can be said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models import metrics
from models.metrics import Floats

Decision = Literal["pass", "fail", "inconclusive", "not_applicable"]
Kind = Literal["accuracy", "tail"]
ROUNDING = 1e-12  # of a mean: 0.1 averaged over users need not be 0.1
BOUNDS = ("min", "max", "min_gain", "max_loss")


@dataclass(frozen=True)
class Rule:
    """Exactly one of min, max (of the value), min_gain, max_loss (against the reference)."""

    name: str
    metric: str
    reference: str | None = None
    slice: str | None = None  # only users of this slice count, `<slicing>=<value>`
    min: float | None = None
    max: float | None = None
    min_gain: float | None = None
    max_loss: float | None = None
    relative: bool = False  # gain, loss and tolerance as a share of the reference's value
    tolerance: float = 0.0  # the bound still holds where it is missed by no more

    def bound(self) -> dict[str, float | bool]:
        """The bound as it was written."""
        given: dict[str, float | bool] = {key: v for key in BOUNDS if (v := getattr(self, key)) is not None}
        if self.reference:
            given["relative"] = self.relative
        return given | ({"tolerance": self.tolerance} if self.tolerance else {})

    def threshold(self) -> float:
        """What the effect has to reach (with `max`: must not exceed), tolerance included, in the effect's unit."""
        (limit,) = (float(value) for key in BOUNDS if (value := getattr(self, key)) is not None)
        if self.max is not None:
            return limit + self.tolerance
        return (-limit if self.max_loss is not None else limit) - self.tolerance

    def of(self) -> str:
        """What is bounded, in words."""
        return self.metric + (f" of {self.slice}" if self.slice else "")


@dataclass(frozen=True)
class Outcome:
    """What a rule says of one contender; numbers are None where they do not exist."""

    name: str
    metric: str
    better: Literal["higher", "lower"]
    kind: Kind
    slice: str | None
    bound: dict[str, float | bool]
    reference: str | None
    n_users: int  # who have a value of their own, of the contender and of the reference
    value: float | None
    reference_value: float | None
    effect: float | None
    interval: tuple[float, float] | None  # one-sided lower and upper bound of the effect
    p_violated: float | None  # share of the distribution on the side of the bound: small speaks for a violation
    threshold: float
    decision: Decision
    reason: str


def outcome(
    rule: Rule,
    decision: Decision,
    reason: str,
    *,
    n_users: int,
    value: float,
    reference_value: float = np.nan,
    effect: float = np.nan,
    interval: tuple[float, float] = (np.nan, np.nan),
    p_violated: float = np.nan,
) -> Outcome:
    """The record of a decision; NaN becomes None, which JSON can hold."""
    metric = metrics.look_up(rule.metric)[1]
    return Outcome(
        name=rule.name,
        metric=rule.metric,
        better="higher" if metric.higher_is_better else "lower",
        kind=metric.kind,
        slice=rule.slice,
        bound=rule.bound(),
        reference=rule.reference,
        n_users=n_users,
        value=finite(value),
        reference_value=finite(reference_value),
        effect=finite(effect),
        interval=None if np.isnan(interval).any() else interval,
        p_violated=finite(p_violated),
        threshold=rule.threshold(),
        decision=decision,
        reason=reason,
    )


def finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def effect_of(rule: Rule, ours: Floats, theirs: Floats) -> Floats:
    """What the bound limits: the value, or how much better than the reference (for lower-is-better: how much lower)."""
    if rule.reference is None:
        return ours
    gain = ours - theirs if metrics.look_up(rule.metric)[1].higher_is_better else theirs - ours
    return metrics.ratio(gain, theirs) if rule.relative else gain


def decide(rule: Rule, effect: float, low: float, high: float) -> Decision:
    """Whether the bound holds with confidence, is violated with confidence, or neither."""
    limit = rule.threshold()
    if rule.max is not None:  # an upper bound is a lower bound on the negated effect
        effect, low, high, limit = -effect, -high, -low, -limit
    # `not >=`, since NaN >= limit is False: what cannot be computed must not pass
    if np.isnan(effect) or (low == high and not low >= limit - ROUNDING):
        return "fail"
    if low >= limit - ROUNDING:
        return "pass"
    return "fail" if high < limit else "inconclusive"


def p_violated(rule: Rule, samples: Floats) -> float:
    """Share of the effect's distribution that keeps the bound: the level at which «it is violated» can be said."""
    if np.isnan(samples).any():
        return np.nan
    limit = rule.threshold()
    kept = samples <= limit + ROUNDING if rule.max is not None else samples >= limit - ROUNDING
    return float(kept.mean())


def explain(rule: Rule, decision: Decision, effect: float, low: float, high: float, confidence: float) -> str:
    """The decision in plain words."""
    if np.isnan(effect):
        return f"{rule.of()} has no value here" + (
            f", or that of {rule.reference} is 0 and bears no relative bound" if rule.relative else ""
        )
    subject = rule.of() if rule.reference is None else f"{rule.of()} gain over {rule.reference}"
    if np.isnan(low + high):
        return f"{subject} is defined for too few users to tell" + (
            f", or {rule.reference} too near to 0 for a relative bound" if rule.relative else ""
        )
    sides = [("at least", low), ("at most", high)]  # of what is sure; a passed `max` is about the upper one
    (passed, passed_bound), (failed, failed_bound) = sides if rule.max is None else sides[::-1]
    sure = f"with {percent(confidence)} confidence"
    known = {
        "pass": f"{sure} {passed} {show(rule, passed_bound)}",
        "fail": f"{sure} {failed} {show(rule, failed_bound)}",
    }.get(decision, f"between {show(rule, low)} and {show(rule, high)} ({two_sided(confidence)}), too wide to tell")
    slack = f", a tolerance of {show(rule, rule.tolerance)} included" if rule.tolerance else ""
    return f"{subject} is {show(rule, effect)}, {known}; required {passed} {show(rule, rule.threshold())}{slack}"


def two_sided(confidence: float) -> str:
    """What lies between two bounds each of which holds with this confidence, such as a 90 % interval for 0.95."""
    return f"{percent(2 * confidence - 1)} interval"


def percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def show(rule: Rule, number: float) -> str:
    """A number in the unit of the rule's effect."""
    if rule.relative:
        return f"{number:+.1%}"
    return f"{number:+.4g}" if rule.reference else f"{number:.4g}"


def check_bounds(rules: Iterable[Rule]) -> None:
    """Raise ValueError where a bound is none, punishes the better of two candidates, or could be kept by nobody."""
    for rule in rules:
        metric = metrics.look_up(rule.metric)[1]
        better, key, wrong = ("higher", "min", "max") if metric.higher_is_better else ("lower", "max", "min")
        if getattr(rule, wrong) is not None:
            raise ValueError(
                f"rule {rule.name!r}: {rule.metric} is better when {better}, so that {wrong} would punish a better "
                f"candidate; bound it by {key}, or by min_gain or max_loss against a reference"
            )
        if rule.relative and metric.lowest < 0:
            raise ValueError(
                f"rule {rule.name!r}: {rule.metric} can be {metric.lowest:g}, and there is no share of what is not "
                "positive; leave `relative` out and give the bound in the unit of the metric"
            )
        limit, (lowest, highest) = rule.threshold(), reachable(rule)
        if not np.isfinite(limit):
            raise ValueError(f"rule {rule.name!r}: the bound {rule.bound()} comes to {limit:g}; use smaller numbers")
        if (limit < lowest - ROUNDING) if rule.max is not None else (limit > highest + ROUNDING):
            raise ValueError(
                f"rule {rule.name!r} can never hold: {rule.of()} {'gain ' if rule.reference else ''}is between "
                f"{lowest:g} and {highest:g}, its bound is {rule.bound()}; correct the bound"
            )


def reachable(rule: Rule) -> tuple[float, float]:
    """Least and greatest effect that the metric's own range allows."""
    metric = metrics.look_up(rule.metric)[1]
    if rule.reference is None:
        return metric.lowest, metric.highest
    if not rule.relative:
        span = metric.highest - metric.lowest
        return -span, span
    # a share of the reference: what is better when lower cannot fall by more than all of it
    return (-np.inf, np.inf) if metric.higher_is_better else (-np.inf, 1.0)
