"""The dimension that data of some size gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.dimension import LARGEST, SMALLEST, WORK, suited


def test_small_data_gets_all_dimensions_that_its_rank_can_use() -> None:
    assert suited(400_000, 5_000, 7_000) == LARGEST
    assert suited(40_000, 600, 6_000) == 256
    assert suited(40_000, 6_000, 300) == 128


def test_large_data_gets_what_an_epoch_can_afford() -> None:
    assert suited(10_000_000, 100_000, 30_000) == 128
    assert suited(10**9, 10**8, 10**7) == SMALLEST


def test_hardly_any_data_gets_the_fewest_dimensions() -> None:
    assert suited(1, 1, 1) == SMALLEST


@given(st.integers(1, 10**9), st.integers(1, 10**7), st.integers(1, 10**7))
def test_it_is_the_largest_power_of_two_within_all_bounds(pairs: int, users: int, items: int) -> None:
    bounds = [LARGEST, WORK / pairs, min(users, items) / 2]
    fitting = [d for d in (2**e for e in range(20)) if d <= min(bounds)]
    assert suited(pairs, users, items) == max(max(fitting, default=1), SMALLEST)


@pytest.mark.parametrize("more", [(2, 1, 1), (1, 2, 2)])
def test_more_pairs_never_give_more_dimensions_and_more_rows_never_fewer(more: tuple[int, int, int]) -> None:
    base = suited(3_000_000, 400, 400)
    changed = suited(3_000_000 * more[0], 400 * more[1], 400 * more[2])
    assert changed <= base if more[0] > 1 else changed >= base
