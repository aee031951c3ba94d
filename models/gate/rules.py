"""Decision of a rule: p-values for and against its bound, and the outcome as a record and a sentence.

An effect is a metric's value, or its gain over a reference on the same users. A rule passes if the test rejects "the
bound is violated", fails if it rejects "the bound holds", and is otherwise inconclusive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.evaluation import metrics
from models.evaluation.metric import ratio
from models.gate.bounded_mean import ROUNDING
from models.gate.rule import BOUNDS, Rule, bound_names, listed

Decision = Literal["pass", "fail", "inconclusive", "not_applicable"]
Kind = Literal["accuracy", "tail"]


@dataclass(frozen=True)
class Outcome:
    """Result of a rule for one contender; undefined numbers are None."""

    name: str
    metric: str
    better: Literal["higher", "lower"]
    kind: Kind
    slice: str | None
    bound: dict[str, float | bool]
    reference: str | None
    n_users: int  # with a value, of the contender and of the reference
    value: float | None
    reference_value: float | None
    effect: float | None
    interval: tuple[float | None, float | None] | None  # one-sided bounds of the effect; None: unbounded
    p_pass: float | None  # p-value of "the bound is violated": small supports the candidate
    p_fail: float | None  # p-value of "the bound holds": small is evidence against it
    users_needed: int | None  # that would decide an inconclusive rule, with the same values
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
    interval: tuple[float | None, float | None] | None = None,
    p_pass: float = np.nan,
    p_fail: float = np.nan,
    users_needed: int | None = None,
) -> Outcome:
    """Return the record of a decision, with NaN as None, for JSON."""
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
        interval=interval,
        p_pass=finite(p_pass),
        p_fail=finite(p_fail),
        users_needed=users_needed,
        threshold=rule.threshold(),
        decision=decision,
        reason=reason,
    )


def finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def effect_of(rule: Rule, ours: float, theirs: float) -> float:
    """Return the bounded effect: the value, or its gain over the reference (for lower-is-better: the reduction)."""
    if rule.reference is None:
        return ours
    gain = direction(rule) * (ours - theirs) + 0.0  # not -0.0
    return float(ratio(np.array(gain), np.array(theirs))) if rule.relative else gain


def direction(rule: Rule) -> float:
    """Return 1 if a larger metric helps the rule, else -1."""
    return 1.0 if metrics.look_up(rule.metric)[1].higher_is_better else -1.0


def margin(rule: Rule, limit: float) -> tuple[float, float, float]:
    """Return (a, b, c) such that a·ours + b·theirs + c is at least 0 exactly if the effect reaches `limit`.

    With an upper bound: exactly if it does not exceed `limit`. This judges a share of the reference without a quotient,
    since its distribution has no mean (Fieller 1940).
    """
    side = -1.0 if rule.bounded_by().is_upper else 1.0
    if rule.reference is None:
        return side, 0.0, -side * limit
    sign, limit = side * direction(rule), side * limit
    return (sign, -sign - limit, 0.0) if rule.relative else (sign, -sign, -limit)


def decide(p_pass: float, p_fail: float, *, passing: float, confidence: float) -> Decision:
    """Return pass or fail if its p-value is small enough, otherwise inconclusive, also for NaN."""
    # `<=` of NaN is False: an undefined p-value must not pass
    if p_pass <= 1 - passing + ROUNDING:
        return "pass"
    return "fail" if p_fail <= 1 - confidence + ROUNDING else "inconclusive"


def explain(
    rule: Rule, decision: Decision, effect: float, interval: tuple[float | None, float | None] | None, *,
    passing: float, confidence: float, users_needed: int | None = None,
) -> str:  # fmt: skip
    """Return the decision as a sentence."""
    if np.isnan(effect):
        return f"{rule.of()} has no value here" + (
            f", or {rule.reference} has the value 0, of which a relative bound is no share" if rule.relative else ""
        )
    subject = rule.of() if rule.reference is None else f"{rule.of()} gain over {rule.reference}"
    low, high = interval or (None, None)
    sides = [("at least", low), ("at most", high)]  # confidence bounds; for a passed upper bound the upper one matters
    (passed, passed_bound), (failed, failed_bound) = sides[::-1] if rule.bounded_by().is_upper else sides
    if decision == "pass":
        known = f"with {percent(passing)} confidence {passed} {show(rule, passed_bound)}"
    elif decision == "fail":
        known = f"with {percent(confidence)} confidence {failed} {show(rule, failed_bound)}"
    else:
        known = f"between {show(rule, low)} and {show(rule, high)} ({two_sided(passing, confidence)}), too wide to tell"
        if users_needed is not None:
            known += f"; about {users_needed:,} users would tell if their values are like these"
    slack = f", a tolerance of {show(rule, rule.tolerance)} included" if rule.tolerance else ""
    return f"{subject} is {show(rule, effect)}, {known}; required {passed} {show(rule, rule.threshold())}{slack}"


def two_sided(passing: float, confidence: float) -> str:
    """Name the interval of two one-sided bounds, such as a 90 % interval of two with 95 % confidence each."""
    return f"{percent(passing + confidence - 1)} interval"


def percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def show(rule: Rule, number: float | None) -> str:
    """Format a number in the unit of the rule's effect; "any number" for a missing end."""
    if number is None:
        return "any number"
    if rule.relative:
        return f"{number:+.1%}"
    return f"{number:+.4g}" if rule.reference else f"{number:.4g}"


def check_bounds(rules: Iterable[Rule]) -> None:
    """Raise ValueError for a bound that is invalid, penalizes the better of two candidates, or is unreachable."""
    for rule in rules:
        metric = metrics.look_up(rule.metric)[1]
        bound = rule.bounded_by()
        if not bound.of_gain and bound.is_upper == metric.higher_is_better:
            better, (wrong,) = "higher" if metric.higher_is_better else "lower", rule.limits()
            right = [name for name in bound_names(of_gain=False) if BOUNDS[name].is_upper != bound.is_upper]
            of_gain = listed(bound_names(of_gain=True), "or")
            raise ValueError(
                f"rule {rule.name!r}: {rule.metric} is better when {better}, so that {wrong} would punish a better "
                f"candidate; bound it by {listed(right, 'or')}, or by {of_gain} against a reference"
            )
        if rule.relative and metric.lowest < 0:
            raise ValueError(
                f"rule {rule.name!r}: {rule.metric} can be {metric.lowest:g}, and there is no share of what is not "
                "positive; leave `relative` out and give the bound in the unit of the metric"
            )
        limit, (lowest, highest) = rule.threshold(), reachable(rule)
        if not np.isfinite(limit):
            raise ValueError(f"rule {rule.name!r}: the bound {rule.bound()} comes to {limit:g}; use smaller numbers")
        if (limit < lowest - ROUNDING) if bound.is_upper else (limit > highest + ROUNDING):
            raise ValueError(
                f"rule {rule.name!r} can never hold: {rule.of()} {'gain ' if rule.reference else ''}is between "
                f"{lowest:g} and {highest:g}, its bound is {rule.bound()}; correct the bound"
            )


def reachable(rule: Rule) -> tuple[float, float]:
    """Return the least and greatest effect within the metric's range."""
    metric = metrics.look_up(rule.metric)[1]
    if rule.reference is None:
        return metric.lowest, metric.highest
    if not rule.relative:
        span = metric.highest - metric.lowest
        return -span, span
    # a share of the reference: a lower-is-better metric cannot fall by more than 100 %
    return (-np.inf, np.inf) if metric.higher_is_better else (-np.inf, 1.0)
