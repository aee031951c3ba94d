"""Cutoffs, head and tail on cases worked by hand, against slow twins, and at their limits."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation import holdout

POPULARITY = st.lists(st.integers(0, 20), min_size=1, max_size=7)


def test_cutoffs_give_the_shares_where_every_time_has_one_event() -> None:
    found = holdout.time_cutoffs(np.arange(100, 110), np.ones(10, int), valid=0.2, test=0.1)

    assert (found.valid_from, found.test_from) == (107, 109)
    assert found.deviation == pytest.approx(0.0, abs=1e-9)


def test_events_of_one_time_stay_together() -> None:
    # half of all events happen at time 1, which all of train needs; the shares are exact at the times after it
    found = holdout.time_cutoffs(np.array([0, 1, 2, 3]), np.array([3, 5, 1, 1]), valid=0.1, test=0.1)

    assert (found.valid_from, found.test_from) == (2, 3)


def test_no_part_is_empty_even_where_one_time_holds_nearly_everything() -> None:
    found = holdout.time_cutoffs(np.array([0, 1, 2]), np.array([1, 1, 998]), valid=0.1, test=0.1)

    assert (found.valid_from, found.test_from) == (1, 2)
    assert found.deviation > 1


@pytest.mark.parametrize("m", [0, 1, 2])
def test_fewer_than_three_times_cannot_be_split(m: int) -> None:
    with pytest.raises(ValueError, match=f"needs 3 distinct timestamps, found {m}"):
        holdout.time_cutoffs(np.arange(m), np.ones(m, int), valid=0.1, test=0.1)


@given(
    counts=st.lists(st.integers(1, 50), min_size=3, max_size=40),
    valid=st.floats(0.01, 0.49),
    test=st.floats(0.01, 0.49),
)
def test_cutoffs_are_ordered_times_that_leave_events_on_each_side(counts: list[int], valid: float, test: float) -> None:
    found = holdout.time_cutoffs(np.arange(len(counts)), np.array(counts), valid=valid, test=test)

    assert 0 < found.valid_from < found.test_from < len(counts)


def test_bucket_bounds_are_hex_text_in_the_order_of_the_shares() -> None:
    assert [holdout.bucket_bound(share) for share in (0.0, 1 / 16, 0.5)] == ["00000000", "10000000", "80000000"]
    assert holdout.bucket_bound(np.nextafter(1.0, 0.0)) == "ffffffff"


def test_the_item_that_crosses_the_share_is_head() -> None:
    assert holdout.head_items(np.array([5, 3, 2, 0]), 0.5).tolist() == [True, False, False, False]
    assert holdout.head_items(np.array([5, 3, 2, 0]), 0.51).tolist() == [True, True, False, False]
    assert holdout.head_items(np.array([5, 3, 2, 0]), 0.81).tolist() == [True, True, True, False]


def test_among_equals_the_first_item_id_is_head() -> None:
    assert holdout.head_items(np.array([1, 2, 2, 2]), 0.5).tolist() == [False, True, True, False]


def test_a_share_that_floats_cannot_hold_takes_no_item_too_many() -> None:
    # 0.7 * 10 == 7.000000000000001 would ask for an eighth item
    assert holdout.head_items(np.ones(10, int), 0.7).sum() == 7
    assert all(holdout.head_items(np.ones(100, int), k / 100).sum() == k for k in range(1, 100))


def test_items_without_interactions_are_tail_and_so_are_all_where_there_are_none() -> None:
    assert not holdout.head_items(np.zeros(3, int), 0.8).any()


@given(POPULARITY, st.sampled_from([0.1, 0.5, 0.7, 0.8, 0.99]))
def test_no_smaller_set_holds_the_share(popularity: list[int], share: float) -> None:
    head = holdout.head_items(np.array(popularity), share)

    needed = Fraction(str(share)) * sum(popularity)
    size = next(
        size
        for size in range(len(popularity) + 1)
        if any(sum(chosen) >= needed for chosen in combinations(popularity, size))
    )
    by_hand = sorted(range(len(popularity)), key=lambda i: (-popularity[i], i))[:size]
    assert np.flatnonzero(head).tolist() == sorted(by_hand)


def test_the_tail_digest_names_the_share_and_the_sorted_ids() -> None:
    expected = hashlib.sha256(b"head_share=0.8\na\nb").hexdigest()

    assert holdout.tail_sha256(["b", "a"], head_share=0.8) == expected
    assert holdout.tail_sha256(["a", "b"], head_share=0.7) != expected
    assert holdout.tail_sha256(["ab"], head_share=0.8) != expected


def test_the_holdout_digest_differs_by_any_pair() -> None:
    digest = holdout.holdout_sha256(iter([("u1", "i1"), ("u2", "i1")]))

    assert digest == hashlib.sha256(b"u1\ti1\nu2\ti1\n").hexdigest()
    assert digest != holdout.holdout_sha256([("u1", "i1")])
    assert digest != holdout.holdout_sha256([("u1", "i1"), ("u2", "i2")])
