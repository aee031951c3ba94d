"""Bounds that make no sense for their metric are rejected."""

from __future__ import annotations

import pytest

from models.evaluation.metrics import REGISTRY
from models.gate.rule import Rule
from models.gate.rules import check_bounds


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            [Rule("a", "ndcg@5", min=0.4), Rule("b", "ndcg@5", max=0.3)],
            "'b': ndcg@5 is better when higher, so that max would punish a better candidate; bound it by min, or",
        ),
        (
            [Rule("a", "gini@5", min=0.4)],
            "'a': gini@5 is better when lower, so that min would punish a better candidate; bound it by max, or",
        ),
        (
            [Rule("a", "popularity_lift@5", reference="random", max_loss=0.5, relative=True)],
            "'a': popularity_lift@5 can be -1, and there is no share of what is not positive; leave `relative` out",
        ),
        ([Rule("a", "arp@5", max=1e308, tolerance=1e308)], "'a': the bound .* comes to inf; use smaller numbers"),
        (
            [Rule("a", "arp@5", reference="random", max_loss=1e308, tolerance=1e308)],
            "'a': the bound .* comes to -inf; use smaller numbers",
        ),
        (
            [Rule("a", "ndcg@5", min=1.1)],
            r"rule 'a' can never hold: ndcg@5 is between 0 and 1, its bound is {'min': 1.1}",
        ),
        ([Rule("a", "gini@5", max=-0.1)], "rule 'a' can never hold"),
        (
            [Rule("a", "ndcg@5", reference="champion", min_gain=1.5)],
            "'a' can never hold: ndcg@5 gain is between -1 and 1",
        ),
        (
            [Rule("a", "arp@5", reference="champion", min_gain=1.5, relative=True)],
            "can never hold: arp@5 gain .* and 1",
        ),
    ],
)
def test_bounds_that_punish_the_better_or_exclude_every_value_are_an_error(rules: list[Rule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_bounds(rules)


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [Rule("a", "ndcg@5", min=1.05, tolerance=0.1)],
        [Rule("a", "popularity_lift@5", reference="random", max_loss=0.5), Rule("b", "popularity_lift@5", max=-0.5)],
        [Rule("a", "arp@5", max=5000.0), Rule("b", "ndcg@5", reference="champion", min_gain=3.0, relative=True)],
    ],
)
def test_bounds_that_some_candidate_could_keep_are_none(rules: list[Rule]) -> None:
    check_bounds(rules)


def test_every_metric_has_a_range_that_is_not_empty() -> None:
    assert all(metric.lowest < metric.highest for metric in REGISTRY.values())
