"""Levels that are spent on one candidate after another: by hand, against their sum, and by simulation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.gate import attempts
from models.gate.attempts import Holdout, Place

ALPHA, HALF = 0.05, 30
HASH, OTHER = Holdout("hash 42"), Holdout("hash 43")
halves = st.integers(1, 10_000)
places = st.builds(Place, st.integers(1, 100_000), st.integers(0, 20))


def by_time(start: float, end: float) -> Holdout:
    return Holdout("time", (start, end))


def test_a_team_that_looks_once_pays_nothing() -> None:
    assert attempts.level(Place(1, 0), alpha=ALPHA, half=HALF) == ALPHA


def test_the_first_levels_by_hand() -> None:
    levels = [attempts.level(Place(number, 0), alpha=0.05, half=2) for number in (1, 2, 3, 4)]
    assert levels == pytest.approx([0.05, 0.025 / 3, 0.025 / 6, 0.025 / 10])  # 2/(2*3), 2/(3*4), 2/(4*5)
    assert attempts.level(Place(1, 1), alpha=0.08, half=2) == pytest.approx(0.01)
    assert attempts.level(Place(2, 1), alpha=0.08, half=2) == pytest.approx(0.01 / 3)
    assert attempts.level(Place(1, 2), alpha=0.08, half=2) == pytest.approx(0.005)


@given(half=halves, n=st.integers(2, 300))
def test_weights_add_up_to_what_the_telescope_says_and_never_to_one(half: int, n: int) -> None:
    exact = sum(Fraction(half, (half + i - 2) * (half + i - 1)) for i in range(2, n + 1))
    assert exact == 1 - Fraction(half, half + n - 1)
    assert sum(attempts.weight(i, half) for i in range(2, n + 1)) == pytest.approx(float(exact))


@given(half=st.integers(1, 500))
def test_half_of_the_weight_is_used_by_so_many_candidates_as_half_says(half: int) -> None:
    assert sum(attempts.weight(i, half) for i in range(2, half + 2)) == pytest.approx(0.5)


@given(half=halves, lines=st.lists(st.integers(1, 200), min_size=1, max_size=12))
def test_all_levels_of_all_lines_together_are_at_most_twice_alpha(half: int, lines: list[int]) -> None:
    """lines: how many candidates each way to split the data has had."""
    spent = [
        attempts.level(Place(number, line), alpha=ALPHA, half=half)
        for line, n in enumerate(lines)
        for number in range(1, n + 1)
    ]
    assert sum(spent) < 2 * ALPHA


@given(at=places, half=halves)
def test_a_later_candidate_never_has_a_higher_level(at: Place, half: int) -> None:
    now = attempts.level(at, alpha=ALPHA, half=half)
    assert 0 < attempts.level(Place(at.number + 1, at.line), alpha=ALPHA, half=half) < now
    assert attempts.level(Place(at.number, at.line + 1), alpha=ALPHA, half=half) < now


@given(at=places, half=halves)
def test_the_confidence_is_one_that_a_float_can_tell_from_certainty(at: Place, half: int) -> None:
    asked = attempts.confidence(attempts.level(at, alpha=ALPHA, half=half))
    assert 0.95 <= asked < 1


def test_under_a_split_by_hash_every_candidate_of_the_seed_counts() -> None:
    assert attempts.place(HASH, []) == Place(1, 0)
    assert attempts.place(HASH, [HASH, HASH]) == Place(3, 0)
    assert attempts.place(OTHER, [HASH, HASH]) == Place(1, 1)
    assert attempts.place(OTHER, [HASH, OTHER, HASH]) == Place(2, 1)
    assert attempts.place(HASH, [HASH, OTHER, HASH]) == Place(3, 0)


def test_going_back_to_a_former_seed_buys_nothing() -> None:
    seeds = [Holdout(f"hash {seed}") for seed in range(5)]
    assert [attempts.place(each, seeds).line for each in seeds] == [0, 1, 2, 3, 4]
    assert attempts.place(Holdout("hash 9"), [*seeds, *seeds]) == Place(1, 5)


def test_windows_that_have_rolled_past_cost_nothing() -> None:
    past = [by_time(day, day + 30) for day in range(100)]
    assert attempts.place(by_time(100, 130), past).number == 31  # those that began on days 70 to 99
    assert attempts.place(by_time(131, 140), past).number == 1
    assert attempts.place(by_time(129, 140), past).number == 2  # one moment in common is enough


def test_a_smaller_window_within_another_shares_pairs_with_it() -> None:
    assert attempts.place(by_time(5, 6), [by_time(0, 10)]).number == 2
    assert attempts.place(by_time(0, 10), [by_time(5, 6)]).number == 2


def test_another_strategy_is_another_way_to_split_the_same_data() -> None:
    assert attempts.place(HASH, [by_time(0, 1)]) == Place(1, 1)
    assert attempts.place(by_time(0, 1), [HASH]) == Place(1, 1)


def test_what_nobody_can_tell_the_holdouts_of_is_counted() -> None:
    assert attempts.place(HASH, [HASH], assumed=30) == Place(32, 0)


@given(windows=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1), at=st.integers(0, 70))
def test_levels_of_windows_that_hold_one_moment_are_at_most_twice_alpha(
    windows: list[tuple[int, int]], at: int
) -> None:
    """Candidates on windows that all share a moment; those on other windows came in between."""
    holdouts = [by_time(start, start + length) for start, length in windows]
    spent = [
        attempts.level(attempts.place(holdout, holdouts[:i]), alpha=ALPHA, half=3)
        for i, holdout in enumerate(holdouts)
        if holdout.window is not None and holdout.window[0] <= at <= holdout.window[1]
    ]
    assert sum(spent) <= 2 * ALPHA


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_twenty_seeds_of_a_model_at_the_bound_pass_no_more_than_twice_as_often_as_one(shared: float) -> None:
    """z-values of candidates at the bound, `shared` of their variance in common."""
    rng = np.random.default_rng(0)
    n = 20_000
    z = np.sqrt(shared) * rng.normal(size=(n, 1)) + np.sqrt(1 - shared) * rng.normal(size=(n, 20))
    p = np.array([stats.norm.sf(column) for column in z.T])  # (20, n)
    levels = np.array([attempts.level(Place(i, 0), alpha=ALPHA, half=HALF) for i in range(1, 21)])[:, None]
    deviation = 4 * np.sqrt(0.1 * 0.9 / n)
    assert (p <= levels).any(axis=0).mean() <= 2 * ALPHA + deviation
    assert (p <= ALPHA).any(axis=0).mean() > 2 * ALPHA + deviation


@pytest.mark.parametrize(("n_events", "test", "needed"), [(900, 0.1, 100), (80, 0.5, 80), (100, 0.2, 25)])
def test_so_many_events_leave_a_test_set_without_the_present_ones(n_events: int, test: float, needed: int) -> None:
    assert attempts.events_until_fresh(n_events, test=test) == pytest.approx(needed)
    assert (n_events + needed) * test == pytest.approx(needed)
