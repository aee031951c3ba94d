"""Which rules no candidate could keep."""

from __future__ import annotations

import pytest

from models.metrics import REGISTRY
from models.rules import Rule, check_consistent


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            [Rule("a", "ndcg@5", min=0.4), Rule("b", "ndcg@5", max=0.3)],
            "'a' and 'b' contradict .* least 0.4 .* most 0.3",
        ),
        ([Rule("a", "gini@5", max=0.3), Rule("b", "gini@5", min=0.4)], "'b' and 'a' contradict"),
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
def test_bounds_that_exclude_each_other_or_every_value_are_an_error(rules: list[Rule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_consistent(rules)


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [Rule("a", "ndcg@5", min=0.3), Rule("b", "ndcg@5", max=0.3)],
        [Rule("a", "ndcg@5", min=0.4), Rule("b", "ndcg@10", max=0.3)],
        [Rule("a", "ndcg@5", min=0.4), Rule("b", "ndcg@5", slice="group=niche", max=0.3)],
        [Rule("a", "ndcg@5", min=0.4, tolerance=0.05), Rule("b", "ndcg@5", max=0.3, tolerance=0.05)],
        [Rule("a", "ndcg@5", min=1.05, tolerance=0.1)],
        [Rule("a", "arp@5", min=5000.0), Rule("b", "ndcg@5", reference="champion", min_gain=3.0, relative=True)],
    ],
)
def test_bounds_that_some_candidate_could_keep_are_none(rules: list[Rule]) -> None:
    check_consistent(rules)


def test_every_metric_has_a_range_that_is_not_empty() -> None:
    assert all(metric.lowest < metric.highest for metric in REGISTRY.values())
