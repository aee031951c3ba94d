"""From rules and evaluations to decisions, and from decisions to one verdict: PROMOTE, HOLD or REJECT.

A rule is a lower bound on an effect: the metric itself, or its gain over a reference on the same users. The effect's
bootstrap distribution decides at a one-sided confidence: pass where the bound holds, fail where it is violated,
inconclusive where neither can be said. Everything else that can go wrong counts against the candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models import bootstrap, exposure, metrics
from models.bootstrap import Statistic
from models.evaluation import Evaluation
from models.metrics import Bools, Floats

Decision = Literal["pass", "fail", "inconclusive", "not_applicable"]
Kind = Literal["accuracy", "tail"]
CANDIDATE, CHAMPION = "candidate", "champion"
CONTROLS: dict[str, Kind] = {"random": "accuracy", "popularity": "tail"}  # control -> kind of rule that must reject it
ROUNDING = 1e-12  # of a mean: 0.1 averaged over users need not be 0.1


@dataclass(frozen=True)
class Rule:
    """Exactly one of min, max (of the value), min_gain, max_loss (against the reference)."""

    name: str
    metric: str
    reference: str | None = None
    min: float | None = None
    max: float | None = None
    min_gain: float | None = None
    max_loss: float | None = None
    relative: bool = False  # gain and loss as a share of the reference's value

    def bound(self) -> dict[str, float | bool]:
        """The bound as it was written."""
        bounds = {key: getattr(self, key) for key in ("min", "max", "min_gain", "max_loss")}
        given: dict[str, float | bool] = {key: value for key, value in bounds.items() if value is not None}
        return given | {"relative": self.relative} if self.reference else given

    def threshold(self) -> float:
        """The limit of the effect, in the effect's unit."""
        (limit,) = (value for key, value in self.bound().items() if key != "relative")
        return -limit if self.max_loss is not None else float(limit)


@dataclass(frozen=True)
class Outcome:
    """What a rule says of one contender; numbers are None where they do not exist."""

    name: str
    metric: str
    kind: Kind
    bound: dict[str, float | bool]
    reference: str | None
    value: float | None
    reference_value: float | None
    effect: float | None
    interval: tuple[float, float] | None  # one-sided lower and upper bound of the effect
    threshold: float
    decision: Decision
    reason: str


@dataclass(frozen=True)
class Control:
    """How the policy judged a model that it must not let pass."""

    model: str
    rejected_by: list[str]  # rules of the kind that this control has to fail
    discriminates: bool


@dataclass(frozen=True)
class Verdict:
    verdict: Literal["PROMOTE", "HOLD", "REJECT"]
    reason: str
    rules: list[Outcome]
    controls: list[Control]


def judge(
    rules: Sequence[Rule],
    evaluations: Mapping[str, Evaluation],
    is_tail: Bools,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Verdict:
    """Judge `evaluations["candidate"]`, and by the same rules the controls.

    is_tail: (n_items,). Raises ValueError where a rule names a metric or a reference that was not evaluated; a
    missing champion is no error, its rules are not applicable.
    """
    check(rules, evaluations)
    contenders = [CANDIDATE, *(name for name in CONTROLS if name in evaluations)]
    statistics = statistics_of(rules, contenders, evaluations, is_tail)
    n_users = len(evaluations[CANDIDATE].lists)
    level = bootstrap.estimates(statistics, n_users=n_users)
    spread = bootstrap.distributions(statistics, n_users=n_users, resamples=resamples, seed=seed)
    outcomes = {name: [apply(rule, name, level, spread, confidence) for rule in rules] for name in contenders}
    controls = [control(name, outcomes.get(name, [])) for name in CONTROLS]
    verdict, reason = conclude(outcomes[CANDIDATE], controls, n_users=n_users, confidence=confidence)
    return Verdict(verdict, reason, outcomes[CANDIDATE], controls)


def check(rules: Iterable[Rule], evaluations: Mapping[str, Evaluation]) -> None:
    """Raise ValueError where rules and evaluations do not belong together."""
    n_users = {len(evaluation.lists) for evaluation in evaluations.values()}
    if CANDIDATE not in evaluations or len(n_users) != 1 or n_users == {0}:
        raise ValueError(
            f"models {sorted(evaluations)} with {sorted(n_users)} users cannot be judged; expected the "
            f"candidate and others on the same users, at least one; run `dvc repro evaluate`"
        )
    for rule in rules:
        _, metric, k = metrics.look_up(rule.metric)
        available = evaluations[CANDIDATE].per_user
        ks = sorted({int(name.partition("@")[2]) for name in available})
        if k not in ks or (metric.per_user and rule.metric not in available):
            raise ValueError(f"rule {rule.name!r}: {rule.metric} was not evaluated, k is {ks}; add k to evaluate.k")
        if metric.per_user:
            check_defined(rule, evaluations)
        # not the candidate itself: it would pass, and the controls would fail, without a word about the candidate
        references = sorted({CHAMPION, *evaluations} - {CANDIDATE})
        if rule.reference not in (None, *references):
            raise ValueError(
                f"rule {rule.name!r}: unknown reference {rule.reference!r}; expected one of {', '.join(references)}"
            )


def check_defined(rule: Rule, evaluations: Mapping[str, Evaluation]) -> None:
    """Raise ValueError where the candidate has no value for a user for whom another model has one.

    A mean skips the undefined: what is lost for the users a model serves worst would raise it.
    """
    ours = evaluations[CANDIDATE].per_user[rule.metric]
    for name, evaluation in evaluations.items():
        lost = int((np.isnan(ours) & ~np.isnan(evaluation.per_user.get(rule.metric, ours))).sum())
        if lost:
            raise ValueError(
                f"rule {rule.name!r}: {rule.metric} of the candidate is undefined for {lost} users for whom that of "
                f"{name} is defined; run `dvc repro --force --single-item evaluate`"
            )


def statistics_of(
    rules: Iterable[Rule], contenders: Iterable[str], evaluations: Mapping[str, Evaluation], is_tail: Bools
) -> dict[tuple[str, str], Statistic]:
    """Statistics by (model, metric): all that the rules compare."""
    compared = [(model, rule.metric) for rule in rules for model in (*contenders, rule.reference or "")]
    needed = {(model, metric) for model, metric in compared if model in evaluations}
    return {(model, metric): statistic(evaluations[model], metric, is_tail) for model, metric in sorted(needed)}


def statistic(evaluation: Evaluation, name: str, is_tail: Bools) -> Statistic:
    """A metric as a function of how often each user counts."""
    base, metric, k = metrics.look_up(name)
    if metric.per_user:
        return bootstrap.mean_of(evaluation.per_user[name])
    shown = exposure.incidence(evaluation.lists[:, :k], n_items=len(is_tail))
    return bootstrap.of_exposure(shown, lambda counts: exposure.OF_EXPOSURE[base](counts, is_tail))


def apply(
    rule: Rule,
    contender: str,
    level: Mapping[tuple[str, str], float],
    spread: Mapping[tuple[str, str], Floats],
    confidence: float,
) -> Outcome:
    """Decide one rule for one contender."""
    ours, theirs = (contender, rule.metric), (rule.reference or "", rule.metric)
    value, reference_value = level[ours], level.get(theirs, np.nan)
    if rule.reference == CHAMPION and theirs not in level:
        return outcome(rule, value, "not_applicable", "there is no champion yet")
    effect = float(effect_of(rule, np.array(value), np.array(reference_value)))
    samples = effect_of(rule, spread[ours], spread.get(theirs, np.full_like(spread[ours], np.nan)))
    low, high = (float(bound) for bound in np.quantile(samples, [1 - confidence, confidence]))
    decision = decide(rule, effect, low, high)
    reason = explain(rule, decision, effect, low, high, confidence)
    return outcome(rule, value, decision, reason, reference_value=reference_value, effect=effect, low=low, high=high)


def outcome(
    rule: Rule,
    value: float,
    decision: Decision,
    reason: str,
    *,
    reference_value: float = np.nan,
    effect: float = np.nan,
    low: float = np.nan,
    high: float = np.nan,
) -> Outcome:
    """The record of a decision; NaN becomes None, which JSON can hold."""
    return Outcome(
        name=rule.name,
        metric=rule.metric,
        kind=metrics.look_up(rule.metric)[1].kind,
        bound=rule.bound(),
        reference=rule.reference,
        value=finite(value),
        reference_value=finite(reference_value),
        effect=finite(effect),
        interval=None if np.isnan(low + high) else (low, high),
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
    if not rule.relative:
        return gain
    return metrics.ratio(gain, theirs)


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


def explain(rule: Rule, decision: Decision, effect: float, low: float, high: float, confidence: float) -> str:
    """The decision in plain words."""
    if np.isnan(effect):
        return f"{rule.metric} has no value here" + (
            f", or that of {rule.reference} is 0 and bears no relative bound" if rule.relative else ""
        )
    subject = rule.metric if rule.reference is None else f"{rule.metric} gain over {rule.reference}"
    if np.isnan(low + high):
        return f"{subject} is defined for too few users to tell" + (
            f", or {rule.reference} too near to 0 for a relative bound" if rule.relative else ""
        )
    sides = [("at least", low), ("at most", high)]  # of what is sure; a passed `max` is about the upper one
    (passed, passed_bound), (failed, failed_bound) = sides if rule.max is None else sides[::-1]
    known = {"pass": f"{passed} {show(rule, passed_bound)}", "fail": f"{failed} {show(rule, failed_bound)}"}.get(
        decision, f"between {show(rule, low)} and {show(rule, high)}, too wide to tell"
    )
    sure = f"with {percent(confidence)} confidence {known}"
    return f"{subject} is {show(rule, effect)}, {sure}; required {passed} {show(rule, rule.threshold())}"


def percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def show(rule: Rule, number: float) -> str:
    """A number in the unit of the rule's effect."""
    if rule.relative:
        return f"{number:+.1%}"
    return f"{number:+.4g}" if rule.reference else f"{number:.4g}"


def control(name: str, outcomes: Iterable[Outcome]) -> Control:
    """Whether a model that must not pass fails a rule of the kind that is about it."""
    failed = [o.name for o in outcomes if o.kind == CONTROLS[name] and o.decision == "fail"]
    return Control(name, failed, discriminates=bool(failed))


def conclude(
    outcomes: Sequence[Outcome], controls: Sequence[Control], *, n_users: int, confidence: float
) -> tuple[Literal["PROMOTE", "HOLD", "REJECT"], str]:
    """The verdict and the sentence that gives its reason."""
    applicable = [o for o in outcomes if o.decision != "not_applicable"]
    if not outcomes:
        return "REJECT", "The policy has no rules: nothing was asked of the candidate; add rules to gate.rules."
    if not applicable:
        return (
            "REJECT",
            "Every rule compares with the champion and there is none yet; add a rule that needs no champion.",
        )
    if blind := [c for c in controls if not c.discriminates]:
        which = " and ".join(f"no {CONTROLS[c.model]} rule rejects {c.model} recommendations" for c in blind)
        return "REJECT", f"The policy cannot discriminate: {which}, so that passing it would prove nothing."
    if failed := [o for o in applicable if o.decision == "fail"]:
        return "REJECT", sentence(failed, len(applicable), "violated")
    if open_ := [o for o in applicable if o.decision == "inconclusive"]:
        return "HOLD", sentence(open_, len(applicable), "neither confirmed nor ruled out")
    return "PROMOTE", f"All {len(applicable)} rules hold with {percent(confidence)} confidence on {n_users:,} users."


def sentence(outcomes: Sequence[Outcome], n_rules: int, what: str) -> str:
    first = outcomes[0]
    return f"{len(outcomes)} of {n_rules} rules {what}; {first.name}: {first.reason}."
