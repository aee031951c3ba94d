"""From rules and evaluations to decisions, and from decisions to one verdict: PROMOTE, HOLD or REJECT.

All rules pass: PROMOTE. One is violated: REJECT. Else HOLD. Models that must not pass are judged by the same rules, and
a policy that does not reject them promotes nothing. Everything that can go wrong counts against the candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from models import metrics, parity, undefined
from models.comparison import EVERYBODY, Figure, Measured, Slices, figures, measure
from models.evaluation import Evaluation
from models.metrics import Bools
from models.multiplicity import holm
from models.rules import (
    Decision,
    Kind,
    Outcome,
    Rule,
    check_bounds,
    decide,
    effect_of,
    explain,
    outcome,
    p_violated,
    percent,
)

CANDIDATE, CHAMPION = "candidate", "champion"
CONTROLS: dict[str, Kind] = {"random": "accuracy", "popularity": "tail"}  # control -> kind of rule that must reject it


@dataclass(frozen=True)
class Procedure:
    """How decisions are made, whatever the rules are."""

    confidence: float  # one-sided, of each rule and of each interval
    resamples: int
    seed: int
    min_users: int = 1  # a rule about fewer is inconclusive
    correction: Literal["none", "holm"] = "none"
    seen_holdout: Literal["hold", "skip"] = "hold"  # rules against a champion that is no fair comparison
    passing: float | None = None  # confidence that a candidate's pass needs, see `attempts`; None: as above

    @property
    def to_pass(self) -> float:
        """One-sided confidence of the side of an interval that passing is read from."""
        return self.confidence if self.passing is None else self.passing


@dataclass(frozen=True)
class Control:
    """How the policy judged a model that it must not let pass."""

    model: str
    rejected_by: list[str]  # rules of the kind that this control has to fail
    discriminates: bool
    undecided: bool  # not rejected, but some rule of that kind had too few users to tell


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
    how: Procedure,
    *,
    slices: Slices = EVERYBODY,
    unfair_champion: str | None = None,
) -> Verdict:
    """Judge `evaluations["candidate"]`, and by the same rules the controls.

    is_tail: (n_items,). unfair_champion: why the champion cannot be compared with, which is then not among the
    evaluations; its rules stay open, or do not apply where the procedure skips them. Raises ValueError where a rule has
    no sound bound, or names a metric, slice or reference that was not evaluated; a missing champion is no error,
    its rules are not applicable.
    """
    check(rules, evaluations, slices)
    evaluations = undefined.filled(evaluations, CANDIDATE, {rule.metric for rule in rules})
    contenders = [CANDIDATE, *(name for name in CONTROLS if name in evaluations)]
    measured = measure(rules, contenders, evaluations, is_tail, slices, resamples=how.resamples, seed=how.seed)
    # controls spend nothing: nobody tries again with them, and a stricter level would make the policy blind
    procedures = {name: how if name == CANDIDATE else replace(how, passing=None) for name in contenders}
    outcomes = {name: judged(rules, name, measured, procedures[name], unfair_champion) for name in contenders}
    controls = [control(name, outcomes.get(name, []), how) for name in CONTROLS]
    verdict, reason = conclude(outcomes[CANDIDATE], controls, how)
    return Verdict(verdict, reason, outcomes[CANDIDATE], controls)


def check(rules: Sequence[Rule], evaluations: Mapping[str, Evaluation], slices: Slices = EVERYBODY) -> None:
    """Raise ValueError where rules have no sound bounds, or do not belong to these evaluations."""
    n_users = {len(evaluation.lists) for evaluation in evaluations.values()}
    if CANDIDATE not in evaluations or len(n_users) != 1 or n_users == {0}:
        raise ValueError(
            f"models {sorted(evaluations)} with {sorted(n_users)} users cannot be judged; expected the "
            f"candidate and others on the same users, at least one; run `dvc repro evaluate`"
        )
    check_bounds(rules)
    for rule in rules:
        base, metric, k = metrics.look_up(rule.metric)
        available = evaluations[CANDIDATE].per_user
        ks = sorted({int(name.partition("@")[2]) for name in available})
        if k not in ks or (metric.per_user and rule.metric not in available):
            raise ValueError(f"rule {rule.name!r}: {rule.metric} was not evaluated, k is {ks}; add k to evaluate.k")
        if base in parity.RATIOS and not evaluations[CANDIDATE].counts:
            raise ValueError(f"rule {rule.name!r}: {rule.metric} was not evaluated; run `dvc repro evaluate`")
        if metric.by_holdout:
            undefined.check(rule.metric, evaluations)
        # not the candidate itself: it would pass, and the controls would fail, without a word about the candidate
        references = sorted({CHAMPION, *evaluations} - {CANDIDATE})
        for what, name, known in (("reference", rule.reference, references), ("slice", rule.slice, sorted(slices))):
            if name not in (None, *known):
                raise ValueError(
                    f"rule {rule.name!r}: unknown {what} {name!r}; expected one of {', '.join(known) or 'none at all'}"
                )


def judged(
    rules: Iterable[Rule], contender: str, measured: Mapping[Figure, Measured], how: Procedure,
    unfair_champion: str | None = None,
) -> list[Outcome]:  # fmt: skip
    """The outcome of every rule for one contender."""
    outcomes = [apply(rule, contender, measured, how, unfair_champion) for rule in rules]
    return corrected(outcomes, how) if how.correction == "holm" else outcomes


def apply(
    rule: Rule, contender: str, measured: Mapping[Figure, Measured], how: Procedure, unfair_champion: str | None = None
) -> Outcome:
    """Decide one rule for one contender, by itself."""
    mine, *others = figures(rule, contender)
    ours, reference = measured[mine], next((measured[other] for other in others if other in measured), None)
    if rule.reference is not None and reference is None:
        decision, reason = missing(unfair_champion, how)
        return outcome(rule, decision, reason, n_users=ours.n_users, value=ours.value)
    nothing = np.full_like(ours.samples, np.nan)
    reference_value = reference.value if reference else np.nan
    effect = float(effect_of(rule, np.array(ours.value), np.array(reference_value)))
    samples = effect_of(rule, ours.samples, reference.samples if reference else nothing)
    below, above = how.to_pass, how.confidence
    if rule.max is not None:  # passing is read from the upper bound
        below, above = above, below
    low, high = (float(bound) for bound in np.quantile(samples, [1 - below, above]))
    decision = decide(rule, effect, low, high)
    reason = explain(rule, decision, effect, low, high, how.to_pass if decision == "pass" else how.confidence)
    p = p_violated(rule, samples)
    n_users = min(each.n_users for each in (ours, reference) if each)
    if 0 < n_users < how.min_users:
        decision, p = "inconclusive", np.nan
        reason = (
            f"{rule.of()} is defined for {n_users} users only, of at least {how.min_users} that gate.min_users asks"
        )
    return outcome(
        rule,
        decision,
        reason,
        n_users=n_users,
        value=ours.value,
        reference_value=reference_value,
        effect=effect,
        interval=(low, high),
        p_violated=p,
    )


def missing(unfair_champion: str | None, how: Procedure) -> tuple[Decision, str]:
    """What a rule says whose champion was not evaluated."""
    if unfair_champion is None:
        return "not_applicable", "there is no champion yet"
    if how.seen_holdout == "skip":
        return "not_applicable", f"{unfair_champion}; left out, as gate.seen_holdout says"
    return "inconclusive", (
        f"{unfair_champion}; restore its split settings, or set gate.seen_holdout to skip for this one run, so that "
        "the other rules decide and the next champion has the new split"
    )


def corrected(outcomes: Sequence[Outcome], how: Procedure) -> list[Outcome]:
    """Violations that are none after Holm's correction become inconclusive.

    The family is all that rules can wrongly say against this contender, «my bound is violated»: one such sentence is
    enough to reject, so that without a correction the risk of a wrong REJECT grows with the number of rules. What they
    say for it needs none: PROMOTE asks all of them to pass, and where one bound is violated in truth that has at most
    the probability of this rule's own error (intersection-union test; Berger 1982, Technometrics 24(4)). For the same
    reason the intervals shown stay those of each rule alone; they are what the passing is read from.
    """
    # what could not be tested (too few users, no champion) is no test; what has no value at all failed for certain
    family = [i for i, o in enumerate(outcomes) if o.p_violated is not None or o.decision == "fail"]
    p_values = np.array([outcomes[i].p_violated or 0.0 for i in family])
    violated = {i for i, said in zip(family, holm(p_values, level=1 - how.confidence), strict=True) if said}
    note = f", but that is no violation after Holm's correction over {len(family)} rules"
    return [
        replace(o, decision="inconclusive", reason=o.reason + note) if o.decision == "fail" and i not in violated else o
        for i, o in enumerate(outcomes)
    ]


def control(name: str, outcomes: Iterable[Outcome], how: Procedure) -> Control:
    """Whether a model that must not pass fails a rule of the kind that is about it, and not for lack of a value."""
    about_it = [o for o in outcomes if o.kind == CONTROLS[name]]
    failed = [o.name for o in about_it if o.decision == "fail" and o.effect is not None]
    thin = any(0 < o.n_users < how.min_users for o in about_it)
    return Control(name, failed, discriminates=bool(failed), undecided=thin and not failed)


def conclude(
    outcomes: Sequence[Outcome], controls: Sequence[Control], how: Procedure
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
    if blind := [c for c in controls if not c.discriminates and not c.undecided]:
        which = " and ".join(f"no {CONTROLS[c.model]} rule rejects {c.model} recommendations" for c in blind)
        return "REJECT", f"The policy cannot discriminate: {which}, so that passing it would prove nothing."
    decisions = {o.decision for o in applicable}
    if "fail" in decisions:
        return "REJECT", sentence(applicable)
    if "inconclusive" in decisions:
        return "HOLD", sentence(applicable)
    if unproven := [c.model for c in controls if c.undecided]:
        return (
            "HOLD",
            f"Too few users to show that the policy rejects {' and '.join(unproven)} recommendations; "
            f"gate.min_users is {how.min_users}.",
        )
    few, many = (f"{count(o.n_users for o in applicable):,}" for count in (min, max))
    users = few if few == many else f"{few} to {many}"
    return "PROMOTE", f"All {len(applicable)} rules hold with {percent(how.to_pass)} confidence on {users} users."


def sentence(outcomes: Sequence[Outcome]) -> str:
    """How many rules do not hold, then each of them with its reason, those of equal reason together."""
    words = {"fail": "violated", "inconclusive": "neither confirmed nor ruled out"}
    counts = {decision: sum(o.decision == decision for o in outcomes) for decision in words}
    told = [f"{n} {words[decision]}" for decision, n in counts.items() if n]
    reasons: dict[str, list[str]] = {}
    for o in (o for decision in words for o in outcomes if o.decision == decision):
        reasons.setdefault(o.reason, []).append(f"«{o.name}»")
    each = (f"{', '.join(names)}: {reason}." for reason, names in reasons.items())
    return " ".join([f"{', '.join(told).replace(' ', f' of {len(outcomes)} rules ', 1)}.", *each])
