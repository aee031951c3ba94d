"""From rules to a verdict, every branch on evaluations made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import policy
from models.evaluation import Evaluation
from models.policy import Outcome, Rule, Verdict

N_USERS, N_ITEMS = 40, 20
IS_TAIL = np.arange(N_ITEMS) >= 5
NOISE = np.random.default_rng(0).uniform(-0.05, 0.05, N_USERS)
ACCURATE = Rule("accurate", "ndcg@5", reference="popularity", min_gain=0.0)
TAIL = Rule("tail", "tail_recall@5", reference="popularity", min_gain=0.05)
HELD = Rule("held", "ndcg@5", reference="champion", max_loss=0.1, relative=True)


def model(ndcg: float, tail: float, *, lists: np.ndarray | None = None, noise: float = 0.0) -> Evaluation:
    """Constant metrics (plus noise that is the same for all models) and, unless given, a list of head items."""
    head = np.tile(np.arange(5, dtype=np.int32), (N_USERS, 1))
    per_user = {
        "ndcg@5": ndcg + noise * NOISE,
        "tail_recall@5": np.full(N_USERS, tail),
        "arp@5": np.full(N_USERS, 10 * ndcg),
        "cold_recall@5": np.full(N_USERS, np.nan),
    }
    return Evaluation(per_user, head if lists is None else lists)


POPULARITY, RANDOM = model(0.2, 0.0), model(0.01, 0.1)


def judge(rules: list[Rule], candidate: Evaluation, **models: Evaluation) -> Verdict:
    evaluations = {"candidate": candidate, "popularity": POPULARITY, "random": RANDOM} | models
    return policy.judge(rules, evaluations, IS_TAIL, confidence=0.95, resamples=200, seed=0)


def only(rule: Rule, candidate: Evaluation, **models: Evaluation) -> Outcome:
    return judge([rule], candidate, **models).rules[0]


def test_a_candidate_that_holds_every_rule_is_promoted() -> None:
    verdict = judge([ACCURATE, TAIL, HELD], model(0.3, 0.2), champion=model(0.29, 0.2))
    assert verdict.verdict == "PROMOTE"
    assert verdict.reason == "All 3 rules hold with 95 % confidence on 40 users."
    assert [outcome.decision for outcome in verdict.rules] == ["pass"] * 3


def test_one_violated_rule_rejects_and_the_reason_names_it() -> None:
    verdict = judge([ACCURATE, TAIL], model(0.3, 0.02))
    assert verdict.verdict == "REJECT"
    assert verdict.reason.startswith("1 of 2 rules violated; tail: tail_recall@5 gain over popularity is +0.02")


def test_a_rule_within_the_noise_holds_the_candidate_back() -> None:
    candidate = replace(
        model(0.2, 0.2), per_user=model(0.2, 0.2).per_user | {"ndcg@5": 0.2 + 4 * NOISE - 4 * NOISE.mean()}
    )
    verdict = judge([ACCURATE, TAIL], candidate)
    assert verdict.verdict == "HOLD"
    assert [outcome.decision for outcome in verdict.rules] == ["inconclusive", "pass"]
    assert "1 of 2 rules neither confirmed nor ruled out; accurate: " in verdict.reason


def test_a_violated_rule_outweighs_an_inconclusive_one() -> None:
    candidate = replace(
        model(0.2, 0.0), per_user=model(0.2, 0.0).per_user | {"ndcg@5": 0.2 + 4 * NOISE - 4 * NOISE.mean()}
    )
    assert judge([ACCURATE, TAIL], candidate).verdict == "REJECT"


def test_rules_against_a_missing_champion_do_not_apply() -> None:
    verdict = judge([ACCURATE, TAIL, HELD], model(0.3, 0.2))
    assert verdict.verdict == "PROMOTE"
    assert verdict.rules[2].decision == "not_applicable"
    assert verdict.rules[2].value == pytest.approx(0.3)
    assert verdict.rules[2].effect is None
    assert verdict.rules[2].interval is None
    assert verdict.rules[2].reference_value is None


def test_rules_against_a_missing_champion_alone_reject() -> None:
    verdict = judge([HELD], model(0.3, 0.2))
    assert (verdict.verdict, "needs no champion" in verdict.reason) == ("REJECT", True)


def test_no_rules_reject() -> None:
    verdict = judge([], model(0.3, 0.2))
    assert (verdict.verdict, "no rules" in verdict.reason) == ("REJECT", True)


def test_a_policy_that_lets_random_pass_its_accuracy_rules_promotes_nothing() -> None:
    lenient = replace(ACCURATE, reference=None, min_gain=None, min=0.0)
    verdict = judge([lenient, TAIL], model(0.3, 0.2))
    assert verdict.verdict == "REJECT"
    assert verdict.reason.startswith("The policy cannot discriminate: no accuracy rule rejects random")
    assert [(c.model, c.rejected_by, c.discriminates) for c in verdict.controls] == [
        ("random", [], False),
        ("popularity", ["tail"], True),
    ]


def test_a_policy_that_lets_popularity_pass_its_tail_rules_promotes_nothing() -> None:
    verdict = judge([ACCURATE], model(0.3, 0.2))
    assert verdict.verdict == "REJECT"
    assert "no tail rule rejects popularity" in verdict.reason


def test_controls_are_judged_against_the_champion_too() -> None:
    tail_held = Rule("tail held", "tail_recall@5", reference="champion", max_loss=0.1, relative=True)
    verdict = judge([ACCURATE, tail_held], model(0.3, 0.2), champion=model(0.3, 0.2))
    assert verdict.verdict == "PROMOTE"
    assert verdict.controls[1].rejected_by == ["tail held"]


def test_a_control_that_was_not_evaluated_cannot_have_been_rejected() -> None:
    evaluations = {"candidate": model(0.3, 0.2), "popularity": POPULARITY}
    verdict = policy.judge([ACCURATE, TAIL], evaluations, IS_TAIL, confidence=0.95, resamples=100, seed=0)
    assert (verdict.verdict, verdict.controls[0].discriminates) == ("REJECT", False)


@pytest.mark.parametrize(
    ("rule", "decision"),
    [
        (Rule("r", "ndcg@5", min=0.3), "pass"),  # met exactly, although the mean of 0.3 is not 0.3
        (Rule("r", "ndcg@5", min=0.3001), "fail"),
        (Rule("r", "ndcg@5", max=0.3), "pass"),
        (Rule("r", "ndcg@5", max=0.2999), "fail"),
        (Rule("r", "ndcg@5", reference="champion", min_gain=0.1), "pass"),
        (Rule("r", "ndcg@5", reference="champion", min_gain=0.11), "fail"),
        (Rule("r", "ndcg@5", reference="champion", min_gain=0.5, relative=True), "pass"),
        (Rule("r", "ndcg@5", reference="champion", min_gain=0.51, relative=True), "fail"),
        (Rule("r", "arp@5", reference="champion", max_loss=1.0), "pass"),  # lower is better: 3.0 against 2.0 loses 1
        (Rule("r", "arp@5", reference="champion", max_loss=0.9), "fail"),
        (Rule("r", "arp@5", reference="champion", max_loss=0.5, relative=True), "pass"),
        (Rule("r", "arp@5", reference="champion", min_gain=0.0), "fail"),
        (Rule("r", "ndcg@5", reference="random", max_loss=0.0), "pass"),
    ],
)
def test_without_any_spread_the_bound_decides_by_comparison(rule: Rule, decision: str) -> None:
    assert only(rule, model(0.3, 0.2), champion=model(0.2, 0.1)).decision == decision


def test_an_upper_bound_passes_below_fails_above_and_is_open_in_between() -> None:
    rule = Rule("r", "ndcg@5", max=0.3)
    low, high, near = (only(rule, model(level, 0.2, noise=1)) for level in (0.2, 0.4, 0.3))
    assert [low.decision, high.decision, near.decision] == ["pass", "fail", "inconclusive"]
    assert "at most" in low.reason
    assert "at least" in high.reason


def test_a_metric_without_a_value_fails() -> None:
    outcome = only(Rule("cold", "cold_recall@5", min=0.0), model(0.3, 0.2))
    assert (outcome.decision, outcome.value, outcome.interval) == ("fail", None, None)
    assert outcome.reason == "cold_recall@5 has no value here"


def test_a_single_nan_among_defined_users_is_skipped_but_too_few_defined_users_cannot_pass() -> None:
    few = np.full(N_USERS, np.nan)
    few[0] = 1.0  # every third resample misses this user
    candidate = replace(model(0.3, 0.2), per_user=model(0.3, 0.2).per_user | {"cold_recall@5": few})
    outcome = only(Rule("cold", "cold_recall@5", min=0.1), candidate)
    assert (outcome.decision, outcome.value, outcome.interval) == ("inconclusive", 1.0, None)


def test_a_share_of_a_reference_that_is_zero_fails() -> None:
    rule = Rule("r", "tail_recall@5", reference="popularity", min_gain=0.0, relative=True)
    outcome = only(rule, model(0.3, 0.2))
    assert outcome.decision == "fail"
    assert "popularity is 0" in outcome.reason


def test_a_share_of_a_reference_that_is_zero_in_some_resamples_cannot_pass() -> None:
    hardly = model(0.2, 0.0)
    hardly.per_user["tail_recall@5"][0] = 0.01  # every third resample misses this user
    rule = Rule("r", "tail_recall@5", reference="champion", max_loss=0.5, relative=True)
    outcome = only(rule, model(0.3, 0.2), champion=hardly)
    assert (outcome.decision, outcome.interval) == ("inconclusive", None)
    assert outcome.reason.endswith("too few users to tell, or champion too near to 0 for a relative bound")


def test_coverage_is_judged_from_the_lists() -> None:
    spread = np.random.default_rng(1).integers(5, N_ITEMS, (N_USERS, 5)).astype(np.int32)
    rule = Rule("shown", "tail_coverage@5", reference="popularity", min_gain=0.5)
    outcome = only(rule, model(0.3, 0.2, lists=spread))
    assert (outcome.decision, outcome.value, outcome.reference_value) == ("pass", 1.0, 0.0)
    assert only(rule, model(0.3, 0.2)).decision == "fail"


def test_the_cut_of_a_list_metric_is_its_own_k() -> None:
    late = np.tile(np.array([0, 1, 2, 3, 9], np.int32), (N_USERS, 1))  # the only tail item stands at rank 5
    candidate = model(0.3, 0.2, lists=late)
    candidate.per_user["ndcg@4"] = candidate.per_user["ndcg@5"]
    outcomes = [only(Rule("r", f"item_coverage@{k}", min=0.0), candidate) for k in (4, 5)]
    assert [outcome.value for outcome in outcomes] == [0.2, 0.25]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("r", "ndgc@5", min=0.0), "unknown metric 'ndgc@5'; .* one of ndcg"),
        (Rule("r", "ndcg@7", min=0.0), r"ndcg@7 was not evaluated, k is \[5\]; add k to evaluate.k"),
        (Rule("r", "gini@7", min=0.0), r"gini@7 was not evaluated"),
        (
            Rule("r", "ndcg@5", reference="oracle", min_gain=0.0),
            "unknown reference 'oracle'; expected one of champion, popularity, random",
        ),
        # it would pass whatever the candidate is, and the controls would fail it: proof of nothing
        (Rule("r", "ndcg@5", reference="candidate", max_loss=0.0), "unknown reference 'candidate'; expected one of"),
    ],
)
def test_a_rule_about_nothing_that_was_evaluated_is_an_error(rule: Rule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge([ACCURATE, TAIL, rule], model(0.3, 0.2))


def test_a_candidate_whose_worst_users_are_undefined_is_an_error() -> None:
    candidate = model(0.3, 0.2, noise=1)
    candidate.per_user["ndcg@5"][candidate.per_user["ndcg@5"].argmin()] = np.nan
    with pytest.raises(
        ValueError, match="ndcg@5 of the candidate is undefined for 1 users for whom that of popularity"
    ):
        judge([ACCURATE, TAIL], candidate)


def test_models_judged_on_different_or_no_users_are_an_error() -> None:
    nobody = Evaluation({"ndcg@5": np.empty(0)}, np.empty((0, 5), np.int32))
    for others in ({"candidate": nobody}, {"candidate": model(0.3, 0.2), "random": nobody}, {"random": RANDOM}):
        with pytest.raises(ValueError, match="cannot be judged"):
            policy.judge([ACCURATE], others, IS_TAIL, confidence=0.95, resamples=100, seed=0)


levels = st.floats(0.0, 0.5)
bounds = st.sampled_from(
    [
        [ACCURATE, TAIL],
        [ACCURATE, TAIL, HELD],
        [Rule("floor", "ndcg@5", min=0.15), TAIL, HELD],
        [ACCURATE, TAIL, Rule("much better", "ndcg@5", reference="champion", min_gain=0.02)],
    ]
)


@settings(max_examples=60, deadline=None)
@given(rules=bounds, level=levels, noise=st.floats(0, 5), better=st.floats(0, 0.5))
def test_raising_a_higher_is_better_metric_of_everybody_never_makes_the_verdict_worse(
    rules: list[Rule], level: float, noise: float, better: float
) -> None:
    order = ["REJECT", "HOLD", "PROMOTE"]
    champion = model(0.2, 0.1, noise=1)
    before = judge(rules, model(level, 0.2, noise=noise), champion=champion).verdict
    after = judge(rules, model(level + better, 0.2, noise=noise), champion=champion).verdict
    assert order.index(after) >= order.index(before)
