"""Paired bootstrap, on distributions whose answer is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models import bootstrap
from models.leave_one_out import losses
from models.metrics import Floats, Lists


def test_every_resample_draws_as_many_users_as_there_are_and_all_of_them_equally_often() -> None:
    weights = np.concatenate(list(bootstrap.draws(20, resamples=2000, rows=300, rng=np.random.default_rng(0))))
    assert weights.shape == (2000, 20)
    assert (weights.sum(axis=1) == 20).all()
    assert weights.mean(axis=0) == pytest.approx(1.0, abs=0.1)
    assert weights.var(axis=0) == pytest.approx(1 - 1 / 20, abs=0.15)  # of binomial(20, 1/20)


@pytest.mark.parametrize("rows", [1, 3, 10, 99])
def test_chunks_change_neither_number_nor_draws(rows: int) -> None:
    def drawn(rows: int) -> list[Floats]:
        return list(bootstrap.draws(10, resamples=10, rows=rows, rng=np.random.default_rng(0)))

    assert max(map(len, drawn(rows))) <= rows
    assert np.array_equal(np.concatenate(drawn(rows)), np.concatenate(drawn(4)))


def values(statistic: bootstrap.Statistic, weights: Floats) -> Floats:
    """Of one statistic between others, from which it has to be kept apart."""
    mean, other = bootstrap.mean_of(np.ones(weights.shape[1])), bootstrap.first_order(3.0, np.ones(weights.shape[1]))
    beside: dict[str, bootstrap.Statistic] = {"mean": mean, "other": other, "it": statistic, "again": mean}
    return bootstrap.weighed(beside, weights)["it"]


def test_weighted_mean_counts_users_as_often_as_they_were_drawn_and_skips_the_undefined() -> None:
    mean = bootstrap.mean_of(np.array([1.0, 3.0, np.nan]))
    assert values(mean, np.array([[1.0, 1, 1], [3, 1, 0], [0, 2, 1]])).tolist() == [2.0, 1.5, 3.0]
    assert np.isnan(values(mean, np.array([[0.0, 0, 3]]))).all()


def test_to_first_order_a_user_drawn_twice_adds_the_loss_again_and_one_left_out_takes_it_away() -> None:
    figure = bootstrap.first_order(0.5, np.array([0.1, 0.0, 0.2]))
    assert values(figure, np.array([[1.0, 1, 1], [2, 1, 0], [0, 3, 0]])) == pytest.approx([0.5, 0.4, 0.2])
    assert values(figure, np.ones((1, 3)))[0] == 0.5


def test_the_size_of_chunks_changes_no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    added, value = np.random.default_rng(3).random((2, 30))
    statistics = {"c": bootstrap.first_order(0.4, added), "m": bootstrap.mean_of(value)}
    whole = bootstrap.distributions(statistics, n_users=30, resamples=40, seed=1)
    monkeypatch.setattr(bootstrap, "CELLS", 120)
    parts = bootstrap.distributions(statistics, n_users=30, resamples=40, seed=1)
    assert all(parts[name] == pytest.approx(whole[name], abs=1e-12) for name in statistics)


def test_spread_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(size=400)
    draws = bootstrap.distributions({"m": bootstrap.mean_of(values)}, n_users=400, resamples=4000, seed=0)["m"]
    assert draws.std() == pytest.approx(values.std() / 20, rel=0.05)
    assert draws.mean() == pytest.approx(values.mean(), abs=0.002)


def test_raising_the_values_of_some_users_lowers_no_resample() -> None:
    """Centring would: it takes from each resample what the average resample has gained by chance."""
    rng = np.random.default_rng(4)
    values, gain = rng.random(50), np.where(np.arange(50) < 2, 5.0, 0.0)
    statistics = {"before": bootstrap.mean_of(values), "after": bootstrap.mean_of(values + gain)}
    draws = bootstrap.distributions(statistics, n_users=50, resamples=200, seed=0)
    assert (draws["after"] >= draws["before"]).all()


def test_equal_seeds_give_equal_draws_and_others_do_not() -> None:
    statistics = {"m": bootstrap.mean_of(np.random.default_rng(1).random(30))}
    a, b, c = (bootstrap.distributions(statistics, n_users=30, resamples=100, seed=s)["m"] for s in (7, 7, 8))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_pairing_cancels_what_models_have_in_common() -> None:
    common = np.random.default_rng(2).normal(size=200)
    statistics = {"a": bootstrap.mean_of(common + 0.1), "b": bootstrap.mean_of(common)}
    draws = bootstrap.distributions(statistics, n_users=200, resamples=500, seed=0)
    assert (draws["a"] - draws["b"]) == pytest.approx(0.1)
    assert draws["a"].std() > 0.05


def test_values_equal_up_to_rounding_have_no_spread_at_all() -> None:
    statistics = {"m": bootstrap.mean_of(np.full(30, 0.1))}
    draws = bootstrap.distributions(statistics, n_users=30, resamples=200, seed=0)["m"]
    assert draws.min() == draws.max()


SAMPLES: dict[str, tuple[Callable[[np.random.Generator], Floats], float]] = {  # 100 users, and the true mean
    "normal": (lambda rng: rng.normal(1, 2, 100), 1.0),
    "exponential": (lambda rng: rng.exponential(1, 100), 1.0),
    "bernoulli": (lambda rng: np.where(rng.random(100) < 0.3, 1.0, 0.0), 0.3),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_one_sided_bounds_hold_at_about_their_nominal_level(name: str) -> None:
    """300 experiments: the 95 % bounds miss the truth in about 5 % of them, on either side."""
    (draw, truth), rng, missed = SAMPLES[name], np.random.default_rng(5), np.zeros(2)
    for seed in range(300):
        statistics = {"m": bootstrap.mean_of(draw(rng))}
        draws = bootstrap.distributions(statistics, n_users=100, resamples=300, seed=seed)["m"]
        low, high = np.quantile(draws, [0.05, 0.95])
        missed += [truth < low, truth > high]
    assert ((missed / 300 >= 0.015) & (missed / 300 <= 0.10)).all()


def shown_by(rng: np.random.Generator, n_users: int, flatness: float) -> Lists:
    """Lists of 10 of 2,000 items, whose popularity falls as a power law, (n_users, 10)."""
    weights = np.arange(1, 2001) ** -flatness
    scores = np.log(weights) - np.log(rng.exponential(size=(n_users, 2000)))  # sampling without replacement
    return np.argpartition(-scores, 10, axis=1)[:, :10].astype(np.int32)


@pytest.mark.parametrize("name", ["tail_coverage", "gini"])
def test_bounds_of_what_all_lists_show_are_wrong_at_most_at_the_nominal_level(name: str) -> None:
    """150 experiments: 95 % bounds of a difference of two models miss the truth in 5 % or less; 14 at z = 2.4."""
    rng, n_users, is_tail = np.random.default_rng(7), 150, np.arange(2000) >= 400
    found = np.empty((150, 3))  # difference, and its bounds
    for seed, row in enumerate(found):
        models = [losses(name, shown_by(rng, n_users, flatness), is_tail) for flatness in (0.7, 0.9)]
        statistics = {model: bootstrap.first_order(*each) for model, each in enumerate(models)}
        drawn = bootstrap.distributions(statistics, n_users=n_users, resamples=300, seed=seed)
        row[:] = models[0][0] - models[1][0], *np.quantile(drawn[0] - drawn[1], [0.05, 0.95])
    truth = found[:, 0].mean()  # of users of this kind and number
    assert (found[:, 1] >= truth).sum() <= 14
    assert (found[:, 2] <= truth).sum() <= 14
