"""Decisions from rules and evaluations, and one verdict from the decisions: PROMOTE, HOLD or REJECT.

PROMOTE if all rules pass, REJECT if one is violated, otherwise HOLD. Control models that must not pass are judged by
the same rules, and a policy that does not reject them promotes nothing. Every fault counts against the candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from models.evaluation import metrics, parity
from models.evaluation.measure import Evaluation
from models.evaluation.metric import Bools
from models.gate import undefined_values
from models.gate.compared import Compared
from models.gate.comparison import EVERYBODY, Figure, Measured, Slices, figures, measure
from models.gate.multiplicity import holm
from models.gate.rule import Rule
from models.gate.rules import Decision, Kind, Outcome, check_bounds, decide, effect_of, explain, outcome, percent

CANDIDATE, CHAMPION = "candidate", "champion"
BEST = "best"  # reference: the best of the releases that led to the champion, by the rule's figure
CONTROLS: dict[str, Kind] = {"random": "accuracy", "popularity": "tail"}  # control -> kind of rule that must reject it


@dataclass(frozen=True)
class Procedure:
    """Settings of decisions that apply to all rules."""

    confidence: float  # one-sided, of each rule and of each interval
    correction: Literal["none", "holm"] = "none"
    seen_holdout: Literal["hold", "skip"] = "hold"  # for rules against a champion that has seen the holdout
    passing: float | None = None  # confidence for a candidate to pass, see `attempts`; None: as above

    @property
    def to_pass(self) -> float:
        """Return the one-sided confidence of the interval's side that decides on passing."""
        return self.confidence if self.passing is None else self.passing


@dataclass(frozen=True)
class Control:
    """The policy's result on a control model, which it must reject."""

    model: str
    rejected_by: list[str]  # rules of this control's kind that it failed
    discriminates: bool
    undecided: bool  # not rejected, but a rule of that kind was inconclusive


@dataclass(frozen=True)
class Best:
    """Best releases: their models among the evaluated ones, or the reason why one was not evaluated."""

    models: Mapping[str, str]  # by figure, as `Rule.of` calls it
    unfair: Mapping[str, str]  # by model: it has seen pairs of the holdout
    absent: Mapping[str, str]  # by model: its files were not available


NOT_LOOKED_FOR = Best({}, {}, {})


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
    best: Best = NOT_LOOKED_FOR,
    held_back: str | None = None,
) -> Verdict:
    """Judge `evaluations["candidate"]`, and the controls by the same rules.

    is_tail: (n_items,). unfair_champion: reason why comparison with the champion is unfair, so that it is not among the
    evaluations; its rules are inconclusive, or not applicable if the procedure skips them. Raises ValueError if a rule
    has an invalid bound, or has a metric, slice or reference that was not evaluated. Without a champion its rules are
    not applicable. Rules against the best release use the model in `best`. held_back: reason beside the rules why the
    candidate must not be promoted, see `continuity`.
    """
    check(rules, evaluations, slices)
    left_out = without(evaluations, how, unfair_champion, best)
    rules = [replace(r, reference=best.models.get(r.of(), BEST)) if r.reference == BEST else r for r in rules]
    evaluations = undefined_values.filled(evaluations, CANDIDATE, {rule.metric for rule in rules})
    contenders = [CANDIDATE, *(name for name in CONTROLS if name in evaluations)]
    measured = measure(rules, contenders, evaluations, is_tail, slices)
    # controls spend no level: they are not repeated attempts, and a stricter level would make the policy blind
    procedures = {name: how if name == CANDIDATE else replace(how, passing=None) for name in contenders}
    outcomes = {name: judged(rules, name, measured, procedures[name], left_out) for name in contenders}
    controls = [control(name, outcomes.get(name, [])) for name in CONTROLS]
    verdict, reason = conclude(outcomes[CANDIDATE], controls, how)
    if held_back is not None and verdict == "PROMOTE":
        return Verdict("HOLD", held_back, outcomes[CANDIDATE], controls)
    if held_back is not None and verdict == "HOLD":
        reason = f"{held_back} {reason}"
    return Verdict(verdict, reason, outcomes[CANDIDATE], controls)


def check(rules: Sequence[Rule], evaluations: Mapping[str, Evaluation], slices: Slices = EVERYBODY) -> None:
    """Raise ValueError if rules have no sound bounds, or do not match these evaluations."""
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
            undefined_values.check(rule.metric, evaluations)
        # not the candidate itself: it would always pass, and the controls fail, whatever its quality
        references = sorted({CHAMPION, BEST, *evaluations} - {CANDIDATE})
        for what, name, known in (("reference", rule.reference, references), ("slice", rule.slice, sorted(slices))):
            if name not in (None, *known):
                raise ValueError(
                    f"rule {rule.name!r}: unknown {what} {name!r}; expected one of {', '.join(known) or 'none at all'}"
                )


def judged(
    rules: Iterable[Rule], contender: str, measured: Mapping[Figure, Measured], how: Procedure,
    left_out: Mapping[str, tuple[Decision, str]],
) -> list[Outcome]:  # fmt: skip
    """Return the outcome of every rule for one contender."""
    outcomes = [apply(rule, contender, measured, how, left_out) for rule in rules]
    return corrected(outcomes, how) if how.correction == "holm" else outcomes


def apply(
    rule: Rule, contender: str, measured: Mapping[Figure, Measured], how: Procedure,
    left_out: Mapping[str, tuple[Decision, str]],
) -> Outcome:  # fmt: skip
    """Decide one rule for one contender, by itself. left_out: decision and reason by reference not evaluated."""
    own, *others = figures(rule, contender)
    ours, theirs = measured[own], next((measured[other] for other in others if other in measured), None)
    if rule.reference is not None and theirs is None:
        without_it, reason = left_out[rule.reference]
        return outcome(rule, without_it, reason, n_users=ours.n_users, value=ours.value)
    passing = how.to_pass
    effect = effect_of(rule, ours.value, theirs.value if theirs else np.nan)
    n_users = min(each.n_users for each in (ours, theirs) if each)
    compared = Compared(rule, ours, theirs, identical=rule.reference == contender)
    p_pass, p_fail = compared.p_values(rule.threshold())
    if np.isnan(effect):
        decision: Decision = "inconclusive" if n_users else "fail"
    else:
        decision = decide(p_pass, p_fail, passing=passing, confidence=how.confidence)
    interval, needed = None, None
    if n_users and not np.isnan(effect) and contender == CANDIDATE:
        interval = compared.interval(effect, passing=passing, confidence=how.confidence)
        # figures of all lists change with the number of users, so the number that would decide is unknown
        if decision == "inconclusive" and metrics.look_up(rule.metric)[1].per_user:
            needed = compared.users_needed(passing, how.confidence)
    return outcome(
        rule,
        decision,
        explain(rule, decision, effect, interval, passing=passing, confidence=how.confidence, users_needed=needed),
        n_users=n_users,
        value=ours.value,
        reference_value=theirs.value if theirs else np.nan,
        effect=effect,
        interval=interval,
        p_pass=p_pass,
        p_fail=p_fail,
        users_needed=needed,
    )


def without(
    evaluations: Mapping[str, Evaluation], how: Procedure, unfair_champion: str | None, best: Best
) -> dict[str, tuple[Decision, str]]:
    """Return decision and reason of rules with a reference that was not evaluated, by reference."""
    if unfair_champion is None and CHAMPION not in evaluations:
        return dict.fromkeys((CHAMPION, BEST), ("not_applicable", "there is no champion yet"))
    champion = unfair(
        unfair_champion or "the champion was not evaluated",
        "restore its split settings, or set gate.seen_holdout to skip for this one run, so that the other rules decide "
        "and the next champion has the new split",
        how,
    )
    baseline = "set champion.baseline to a later release"
    unknown: tuple[Decision, str] = ("inconclusive", "the best release by this was not looked for; run `dvc repro`")
    return (
        {CHAMPION: champion, BEST: unknown}
        | {name: unfair(why, f"restore its split settings, or {baseline}", how) for name, why in best.unfair.items()}
        | {name: ("inconclusive", f"{why}, or {baseline}") for name, why in best.absent.items()}
    )


def unfair(why: str, remedy: str, how: Procedure) -> tuple[Decision, str]:
    """Return decision and reason of a rule with a reference that has seen pairs of the holdout."""
    if how.seen_holdout == "skip":
        return "not_applicable", f"{why}; left out, as gate.seen_holdout says"
    return "inconclusive", f"{why}; {remedy}"


def corrected(outcomes: Sequence[Outcome], how: Procedure) -> list[Outcome]:
    """Change violations that do not survive Holm's correction to inconclusive.

    The family is all rejections of "the bound holds" for this contender: a single one is enough for REJECT, so without
    a correction the risk of a wrong REJECT grows with the number of rules. Passing needs none: PROMOTE requires all
    rules to pass, and if one bound is truly violated, that has at most the probability of this rule's own error
    (intersection-union test; Berger 1982, Technometrics 24(4)). For the same reason the shown intervals are those of
    each rule alone; they decide on passing.
    """
    # rules without a test (too few users, no champion) are no part of it; rules without any value failed for certain
    family = [i for i, o in enumerate(outcomes) if o.p_fail is not None or o.decision == "fail"]
    p_values = np.array([outcomes[i].p_fail or 0.0 for i in family])
    violated = {i for i, rejected in zip(family, holm(p_values, level=1 - how.confidence), strict=True) if rejected}
    note = f", but that is no violation after Holm's correction over {len(family)} rules"
    return [
        replace(o, decision="inconclusive", reason=o.reason + note) if o.decision == "fail" and i not in violated else o
        for i, o in enumerate(outcomes)
    ]


def control(name: str, outcomes: Iterable[Outcome]) -> Control:
    """Return whether a control model fails a rule of its kind, for a reason other than a missing value."""
    about_it = [o for o in outcomes if o.kind == CONTROLS[name]]
    failed = [o.name for o in about_it if o.decision == "fail" and o.effect is not None]
    open_ones = any(o.decision == "inconclusive" and o.p_fail is not None for o in about_it)
    return Control(name, failed, discriminates=bool(failed), undecided=open_ones and not failed)


def conclude(
    outcomes: Sequence[Outcome], controls: Sequence[Control], how: Procedure
) -> tuple[Literal["PROMOTE", "HOLD", "REJECT"], str]:
    """Return the verdict and its reason as a sentence."""
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
        kinds = " and ".join(f"no {CONTROLS[name]} rule rejects {name} recommendations" for name in unproven)
        return (
            "HOLD",
            f"Nothing shows that the policy can reject: {kinds} with confidence on these users. Judge on more users, "
            "or add a rule that they fail by far, such as a `min` of the metric.",
        )
    few, many = (f"{count(o.n_users for o in applicable):,}" for count in (min, max))
    users = few if few == many else f"{few} to {many}"
    return (
        "PROMOTE",
        f"All {len(applicable)} rules hold with {percent(how.to_pass)} confidence on {users} users.",
    )


def sentence(outcomes: Sequence[Outcome]) -> str:
    """Return a text with the number of rules that do not hold, and their reasons, grouped by reason."""
    words = {"fail": "violated", "inconclusive": "neither confirmed nor ruled out"}
    counts = {decision: sum(o.decision == decision for o in outcomes) for decision in words}
    numbers = [f"{n} {words[decision]}" for decision, n in counts.items() if n]
    reasons: dict[str, list[str]] = {}
    for o in (o for decision in words for o in outcomes if o.decision == decision):
        reasons.setdefault(o.reason, []).append(f"«{o.name}»")
    each = (f"{', '.join(names)}: {reason}." for reason, names in reasons.items())
    return " ".join([f"{', '.join(numbers).replace(' ', f' of {len(outcomes)} rules ', 1)}.", *each])
