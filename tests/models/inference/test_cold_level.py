"""The bonus of cold items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.inference.cold_level import DEVIATIONS, RANK, ColdLevel
from models.inference.factors import Factors
from tests.models.small_factors import small_factors


def level(*, d: int = 4, n: int = 30, height: float = 0.5) -> ColdLevel:
    rng = np.random.default_rng(3)
    typical = rng.normal(size=(50, d))
    anchored = np.zeros(n, np.bool_)
    anchored[-3:] = True
    return ColdLevel(anchored, typical.mean(axis=0).astype(np.float32), np.cov(typical.T).astype(np.float32), height)


def model(height: float = 0.5) -> Factors:
    bias = np.linspace(1, 0, 30).astype(np.float32)
    bias[-3:] = 0
    return replace(small_factors(n_items=30, d=4), popularity_bias=bias, n_warm_items=27, cold=level(height=height))


USERS = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)


def test_the_bonus_is_its_definition() -> None:
    cold, popular = level(), model().popular
    for user, bonus in zip(USERS, cold.bonus(USERS, popular), strict=True):
        scores = sorted((float(user @ y) for y in popular), reverse=True)
        mean, tenth = sum(scores) / len(scores), scores[RANK - 1]
        deviation = float(np.sqrt(user @ cold.covariance @ user))
        expected = mean + 0.5 * (tenth - mean) - (float(user @ cold.mean) + DEVIATIONS * deviation)
        assert bonus == pytest.approx(expected, abs=1e-4)


def test_the_bonus_goes_to_anchored_items_alone() -> None:
    with_bonus, plain = model(), replace(model(), cold=None)
    gained = (with_bonus.queries(USERS) @ with_bonus.item_vectors().T) - (plain.queries(USERS) @ plain.item_vectors().T)
    np.testing.assert_allclose(gained[:, -3:], with_bonus.cold_bonus(USERS)[:, None].repeat(3, axis=1), atol=1e-4)
    np.testing.assert_allclose(gained[:, :-3], 0, atol=1e-6)


@given(st.floats(0.1, 10))
def test_the_bonus_scales_with_the_scores(factor: float) -> None:
    cold, popular = level(), model().popular
    bonus = cold.bonus((USERS * factor).astype(np.float32), popular)
    np.testing.assert_allclose(bonus, factor * cold.bonus(USERS, popular), rtol=1e-4, atol=1e-4)


@given(st.floats(-1, 1), st.floats(0.01, 1))
def test_higher_is_never_a_smaller_bonus(height: float, more: float) -> None:
    popular = model().popular
    assert (level(height=height + more).bonus(USERS, popular) >= level(height=height).bonus(USERS, popular)).all()


def test_without_a_taste_there_is_no_bonus() -> None:
    assert level().bonus(np.zeros((1, 4), np.float32), model().popular)[0] == 0


def test_turning_the_dimensions_changes_no_score() -> None:
    before, after = model(), model().in_eigenbasis()
    history = [np.array([2, 5, 7]), np.array([1])]
    scores = [m.queries(m.fold_in(history)) @ m.item_vectors().T for m in (before, after)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)
    assert np.array_equal(after.gram, np.diag(np.diagonal(after.gram)))
