"""P-values for bounded means against exact intervals, a slow twin, and their own level."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.evaluation.metric import Floats, Lists
from models.gate import bounded_mean
from models.gate.bounded_mean import mass_below, p_value, users_needed
from models.gate.leave_one_out import losses


@pytest.mark.parametrize(("n", "losers"), [(30, 0), (100, 1), (300, 3), (1000, 0), (1000, 30)])
def test_of_values_0_and_1_the_p_value_is_that_of_clopper_and_pearson(n: int, losers: int) -> None:
    """At the upper end of their interval for the share of losers the p-value is its level."""
    share = float(stats.beta.ppf(0.95, losers + 1, n - losers))
    values = share - np.where(np.arange(n) < losers, 1.0, 0.0)
    assert p_value(values, share - 1) == pytest.approx(0.05, abs=0.0015)


def test_n_users_of_whom_nobody_loses_anything_can_hide_a_loss_of_3_in_n() -> None:
    assert [p_value(np.full(n, 0.01), -0.99) <= 0.05 for n in (290, 297, 310)] == [False, False, True]
    assert p_value(np.full(300, 0.01), -0.99) == pytest.approx(0.99**300, abs=1e-3)


@pytest.mark.parametrize("n", [50, 120, 300, 474, 1000])
def test_a_share_of_losers_exactly_at_the_bound_passes_in_at_most_a_twentieth_of_experiments(n: int) -> None:
    """Every number of losers weighed by its binomial probability: nothing is drawn."""
    for share in (0.001, 0.005, 0.01, 0.02, 0.05):
        most = int(stats.binom.ppf(1 - 1e-9, n, share))
        wrong = 0.0
        for losers in range(most + 1):
            values = share - np.where(np.arange(n) < losers, 1.0, 0.0)
            if p_value(values, share - 1) <= 0.05:
                wrong += float(stats.binom.pmf(losers, n, share))
        assert wrong <= 0.05


@pytest.mark.parametrize("name", ["few finds", "skewed", "weighted"])
def test_the_tail_of_a_weighted_sum_is_that_of_many_draws(name: str) -> None:
    rng = np.random.default_rng(3)
    values = {
        "few finds": np.where(rng.random(80) < 0.05, 1.0, 0.0) - 0.07,
        "skewed": rng.beta(0.3, 3, 40) - 0.12,
        "weighted": np.array([-1.0, 0.02, 0.3]),
    }[name]
    weights = np.array([0.25, 100.0, 2.0]) if name == "weighted" else np.ones(len(values))
    draws = rng.gamma(weights, size=(100_000, len(values))) @ values
    assert mass_below(values, weights) == pytest.approx((draws <= 0).mean(), abs=0.006)


def test_limits_of_the_tail() -> None:
    ones = np.ones(3)
    assert mass_below(np.array([1.0, 0.0, 2.0]), ones) == 0.0
    assert mass_below(np.array([-1.0, 0.0, -2.0]), ones) == 1.0
    assert mass_below(np.zeros(3), ones) == 1.0
    assert mass_below(np.array([-1.0, 1.0]), np.ones(2)) == pytest.approx(0.5)
    assert mass_below(np.array([-1e-9, 1e9, 1.0]), ones) == pytest.approx(0.0, abs=1e-6)


def test_limits_of_the_p_value() -> None:
    assert math.isnan(p_value(np.empty(0), -1.0))
    assert p_value(np.zeros(5), 0.0) == 0.0  # nothing can be below 0, so that the bound is met for certain
    assert p_value(np.zeros(5), -1.0) == 1.0
    assert p_value(np.array([0.5]), -0.5) > 0.4


def test_of_many_users_the_p_value_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).uniform(-0.9, 1.0, 20_000)
    z = values.mean() / values.std() * math.sqrt(len(values))
    assert p_value(values, -1.0) == pytest.approx(stats.norm.sf(z), rel=0.05)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1), zeros=st.floats(0, 1))
def test_raising_values_never_raises_the_p_value(seed: int, share: float, zeros: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(60) < zeros, 0.05, rng.uniform(-0.9, 1, 60))
    raised = np.minimum(values + rng.random(60) * (rng.random(60) < share), 1.0)
    assert p_value(raised, -0.9) <= p_value(values, -0.9) + 1e-3  # what the saddlepoint is exact to


def test_a_bound_is_where_the_p_value_meets_its_level_and_none_where_it_never_does() -> None:
    values = np.random.default_rng(2).random(200)

    def reaches(limit: float) -> float:
        return p_value(values - limit, -limit)

    low = bounded_mean.bound(reaches, float(values.mean()), step=-0.01, level=0.05)
    assert low is not None
    assert reaches(low) == pytest.approx(0.05, abs=1e-6)
    assert bounded_mean.bound(lambda limit: 0.5, 0.0, step=-1.0, level=0.05) is None


def test_users_needed_are_as_many_as_decide_it() -> None:
    values = np.random.default_rng(5).uniform(-0.4, 0.4, 100)
    values += 0.03 - values.mean()
    needed = users_needed(values, -0.9, level=0.05)
    assert needed is not None
    assert p_value(values, -0.9, repeated=needed / 100) <= 0.05 < p_value(values, -0.9, repeated=0.9 * needed / 100)
    assert users_needed(values - values.mean(), -1.0, level=0.05) is None


def shown_by(rng: np.random.Generator, n_users: int, flatness: float) -> Lists:
    """Lists of 10 of 2,000 items, whose popularity falls as a power law, (n_users, 10)."""
    scores = rng.exponential(size=(n_users, 2000)) * np.arange(1, 2001) ** flatness
    return np.argpartition(scores, 10, axis=1)[:, :10].astype(np.int32)


@pytest.mark.parametrize("name", ["tail_coverage", "gini"])
@pytest.mark.slow
def test_p_values_of_what_all_lists_show_are_small_at_most_as_often_as_they_say(name: str) -> None:
    """150 experiments: «the difference of two models is the true one» is found wrong in 5 % or less; 14 at z = 2.4."""
    rng, n, is_tail = np.random.default_rng(7), 150, np.arange(2000) >= 400
    found: list[tuple[float, Floats]] = []
    for _ in range(150):
        (one, adds), (other, takes) = (losses(name, shown_by(rng, n, flatness), is_tail) for flatness in (0.7, 0.9))
        found.append((one - other, adds - takes))
    truth = float(np.mean([level for level, _ in found]))  # of users of this kind and number
    margins = [level - truth + n * (added - added.mean()) for level, added in found]
    for sign in (1.0, -1.0):
        assert sum(p_value(sign * each, float((sign * each).min())) <= 0.05 for each in margins) <= 14


@pytest.mark.parametrize("shift", [0.001, 0.004, -0.003])
def test_many_values_in_bins_have_the_p_value_of_all_of_them(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    values = np.where(rng.random(30_000) < 0.6, 0.0, rng.normal(0, 0.3, 30_000).clip(-0.9, 1)) + shift
    found = p_value(values, -0.95)
    monkeypatch.setattr(bounded_mean, "BINS", len(values))
    assert found == pytest.approx(p_value(values, -0.95), rel=1e-4)
