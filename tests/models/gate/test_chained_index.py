"""Chained levels of releases, by hand and against products taken one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.measure import Evaluation
from models.gate import policy
from models.gate.chained_index import Link, best, levels
from models.gate.policy import Best, Procedure
from models.gate.rule import Rule

POSITIVE = st.floats(0.01, 1.0)
LINKS = st.lists(st.builds(Link, POSITIVE, POSITIVE), max_size=6)


def test_a_release_alone_has_a_level_of_its_own() -> None:
    assert levels([]) == [1.0]
    assert best([1.0], [True]) == 0


def test_gains_are_chained_although_holdouts_differ_in_scale() -> None:
    """v3 lost a tenth of v2's on a holdout on which everything is found; v2 had doubled v1's where little is."""
    found = levels([Link(0.72, 0.8), Link(0.02, 0.01)])
    assert found == pytest.approx([1.0, 1 / 0.9, 1 / 1.8])
    assert best(found, [True] * 3) == 1


def test_a_metric_that_is_better_when_lower_has_inverse_levels() -> None:
    assert levels([Link(0.5, 0.4)], higher_is_better=False) == pytest.approx([1.0, 1.25])


@pytest.mark.parametrize("links", [[Link(0.0, 0.01), Link(0.01, 0.02)], [Link(-0.2, -0.19), Link(0.0, 0.01)]])
def test_values_that_bear_no_ratio_are_chained_by_differences(links: list[Link]) -> None:
    assert levels(links) == pytest.approx([0.0, 0.01, 0.02])


def test_a_model_that_lost_everything_does_not_hide_what_was_lost_before() -> None:
    """With ratios alone the levels before a 0 would be infinite, and equal."""
    assert best(levels([Link(0.0, 0.009), Link(0.011, 0.02)]), [True] * 3) == 2


def test_of_equal_levels_the_newest_is_best_and_the_newest_too_where_none_is_eligible() -> None:
    assert best([1.0, 1.0, 1.0], [True] * 3) == 0
    assert best([1.0, 2.0, 2.0], [True, False, True]) == 2
    assert best([1.0, 2.0], [False, False]) == 0


@given(LINKS)
def test_levels_are_products_of_the_ratios_between(links: list[Link]) -> None:
    found = levels(links)
    for i, level in enumerate(found):
        assert level == pytest.approx(math.prod(each.reference_value / each.value for each in links[:i]))


@given(LINKS, POSITIVE)
def test_the_scale_of_a_holdout_changes_no_level(links: list[Link], scale: float) -> None:
    scaled = [Link(each.value * scale, each.reference_value * scale) for each in links]
    assert levels(scaled) == pytest.approx(levels(links))


N_USERS, N_ITEMS = 400, 20
LISTS = np.zeros((N_USERS, 5), np.int32)
HELD = Rule("held", "ndcg@5", reference="champion", max_loss=0.05, relative=True)
FLOOR = Rule("floor", "ndcg@5", reference="best", max_loss=0.05, relative=True)


def series(rng: np.random.Generator, *, drift: float, jitter: float, n: int) -> list[float]:
    """True qualities of the releases that the two rules let serve, of n candidates on a fresh holdout each.

    A candidate has `1 + drift` of the champion's quality (of the first release's without drift), give or take jitter.
    """
    qualities = [1.0]
    links: list[Link] = []
    for _ in range(n):
        true = (qualities[-1] if drift else 1.0) * (1 + drift) * (1 + rng.normal(0, jitter))
        place = best(levels(links), [True] * len(qualities))
        older = {"champion": qualities[-1]} | ({"best v1": qualities[-1 - place]} if place else {})
        user = rng.uniform(0.1, 0.5, N_USERS)  # how much there is to find for each
        found = {
            name: Evaluation(
                {"ndcg@5": user * quality + rng.normal(0, 0.02, N_USERS)}, np.zeros((N_USERS, 5), np.int32)
            )
            for name, quality in ({"candidate": true} | older).items()
        }
        which = Best({"ndcg@5": "best v1" if place else "champion"}, {}, {})
        how = Procedure(confidence=0.95)
        outcomes = policy.judge([HELD, FLOOR], found, np.ones(N_ITEMS, np.bool_), how, best=which).rules
        if all(each.decision == "pass" for each in outcomes):
            ours, theirs = (float(found[name].per_user["ndcg@5"].mean()) for name in ("candidate", "champion"))
            links.insert(0, Link(ours, theirs))
            qualities.append(true)
    return qualities


@pytest.mark.slow
def test_releases_that_lose_three_percent_each_are_stopped_and_steady_ones_are_not() -> None:
    """The best of noisy levels is chosen too often for its noise; ranked anew, it has that noise no more."""
    rng = np.random.default_rng(0)
    worn = series(rng, drift=-0.03, jitter=0.0, n=20)
    assert worn == pytest.approx([1.0, 0.97])  # 0.97² is more than a twentieth below the first
    steady = series(rng, drift=0.0, jitter=0.005, n=60)
    assert len(steady) - 1 >= 57
    assert min(steady) > 0.98
