"""Exposure figures of lists: cases worked by hand, properties, and slow twins."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from models.evaluation import exposure

TAIL = np.array([False, False, True, True])
USERS_OF_ITEM = np.array([8, 4, 1, 0])
ALL_HEAD, ALL_TAIL = np.array([[0, 1]], np.int32), np.array([[2, 3]], np.int32)
short_lists = hnp.arrays(np.int32, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.integers(-1, 3))
counts = hnp.arrays(np.float64, st.integers(1, 12), elements=st.integers(0, 20).map(float))


def test_a_list_of_head_items_has_no_tail_and_a_list_of_tail_items_nothing_else() -> None:
    assert exposure.aplt(ALL_HEAD, TAIL).tolist() == [0.0]
    assert exposure.aplt(ALL_TAIL, TAIL).tolist() == [1.0]
    assert exposure.aclt(ALL_HEAD, TAIL).tolist() == [0.0]
    assert exposure.aclt(ALL_TAIL, TAIL).tolist() == [2.0]


def test_popularity_and_novelty_of_a_list_are_means_over_its_items() -> None:
    assert exposure.arp(ALL_HEAD, USERS_OF_ITEM).tolist() == [6.0]
    assert exposure.arp(ALL_TAIL, USERS_OF_ITEM).tolist() == [0.5]
    assert exposure.novelty(ALL_HEAD, USERS_OF_ITEM, n_users=8).tolist() == [0.5]  # 0 bits and 1 bit
    assert exposure.novelty(ALL_TAIL, USERS_OF_ITEM, n_users=8).tolist() == [3.0]  # 0 users count as 1


def test_an_empty_list_has_no_mean_but_zero_tail_items() -> None:
    nothing = np.array([[-1, -1]], np.int32)
    assert math.isnan(exposure.aplt(nothing, TAIL)[0])
    assert math.isnan(exposure.arp(nothing, USERS_OF_ITEM)[0])
    assert exposure.aclt(nothing, TAIL).tolist() == [0.0]


@given(lists=short_lists)
def test_list_means_equal_their_slow_twins(lists: np.ndarray) -> None:
    for row, aplt, aclt, arp, novelty in zip(
        lists.tolist(),
        exposure.aplt(lists, TAIL),
        exposure.aclt(lists, TAIL),
        exposure.arp(lists, USERS_OF_ITEM),
        exposure.novelty(lists, USERS_OF_ITEM, n_users=8),
        strict=True,
    ):
        shown = [item for item in row if item >= 0]
        assert aclt == len([item for item in shown if TAIL[item]])
        if shown:
            assert aplt == pytest.approx(aclt / len(shown))
            assert arp == pytest.approx(sum(int(USERS_OF_ITEM[i]) for i in shown) / len(shown))
            bits = [-math.log2(max(int(USERS_OF_ITEM[i]), 1) / 8) for i in shown]
            assert novelty == pytest.approx(sum(bits) / len(shown))


@given(lists=short_lists)
def test_replacing_an_item_by_a_rarer_one_lowers_arp_and_raises_novelty(lists: np.ndarray) -> None:
    rarer = np.where(lists == 0, 1, lists).astype(np.int32)  # item 0 has 8 users, item 1 has 4
    kept = (lists >= 0).any(axis=1)
    before, after = (exposure.arp(each, USERS_OF_ITEM)[kept] for each in (lists, rarer))
    assert (after <= before).all()
    before, after = (exposure.novelty(each, USERS_OF_ITEM, n_users=8)[kept] for each in (lists, rarer))
    assert (after >= before).all()


@given(lists=short_lists)
def test_replacing_a_head_item_by_a_tail_item_raises_aplt_and_aclt(lists: np.ndarray) -> None:
    deeper = np.where(lists == 0, 3, lists).astype(np.int32)  # item 0 is head, item 3 tail
    touched = (lists == 0).any(axis=1)
    for figure in (exposure.aplt, exposure.aclt):
        before, after = (figure(each, TAIL) for each in (lists, deeper))
        assert (after[touched] > before[touched]).all()
        np.testing.assert_equal(after[~touched], before[~touched])


@pytest.mark.parametrize(
    ("counts", "coverage", "gini", "entropy"),
    [
        ([5, 5, 5, 5], 1.0, 0.0, 2.0),  # everything equally often
        ([0, 0, 9, 0], 0.25, 0.75, 0.0),  # one item only: (n - 1) / n
        ([0, 0, 2, 2], 0.5, 0.5, 1.0),
    ],
)
def test_exposure_figures_by_hand(counts: list[float], coverage: float, gini: float, entropy: float) -> None:
    values = np.array(counts, np.float64)
    assert exposure.coverage(values) == pytest.approx(coverage)
    assert exposure.gini(values) == pytest.approx(gini)
    assert exposure.entropy(values) == pytest.approx(entropy)


def test_coverage_of_the_tail_counts_tail_items_only() -> None:
    of_exposure = exposure.METRICS["tail_coverage"].of_exposure
    assert of_exposure is not None
    assert of_exposure(np.array([3.0, 1.0, 0.0, 0.0]), TAIL) == 0.0
    assert of_exposure(np.array([0.0, 0.0, 1.0, 4.0]), TAIL) == 1.0
    assert math.isnan(of_exposure(np.ones(4), np.zeros(4, bool)))


def test_figures_of_nothing_shown_are_undefined_and_its_coverage_is_zero() -> None:
    nothing = np.zeros(3)
    assert exposure.coverage(nothing) == 0.0
    assert math.isnan(exposure.gini(nothing))
    assert math.isnan(exposure.entropy(nothing))


@given(counts=counts.filter(lambda c: c.sum() > 0))
def test_exposure_figures_equal_their_slow_twins(counts: np.ndarray) -> None:
    n, total = len(counts), counts.sum()
    differences = sum(abs(a - b) for a in counts for b in counts)  # Gini as half the relative mean difference
    assert exposure.gini(counts) == pytest.approx(differences / (2 * n * total))
    shares = [c / total for c in Counter(dict(enumerate(counts))).values() if c]
    assert exposure.entropy(counts) == pytest.approx(-sum(p * math.log2(p) for p in shares), abs=1e-12)
    assert exposure.coverage(counts) == len([c for c in counts if c > 0]) / n


@given(counts=counts.filter(lambda c: c.sum() > 0), scale=st.integers(1, 5))
def test_exposure_figures_ignore_scale_and_the_order_of_items(counts: np.ndarray, scale: int) -> None:
    for figure in (exposure.gini, exposure.entropy, exposure.coverage):
        assert figure(counts[::-1] * scale) == pytest.approx(figure(counts), abs=1e-12)


def test_figures_are_taken_row_by_row() -> None:
    rows = np.array([[5, 5, 5, 5], [0, 0, 9, 0]], np.float64)
    assert exposure.gini(rows) == pytest.approx([0.0, 0.75])
    assert exposure.entropy(rows) == pytest.approx([2.0, 0.0])


def test_a_list_like_the_history_has_no_lift_and_one_twice_as_popular_has_one() -> None:
    histories = csr_array(np.array([[0, 3.0, 0, 0], [0, 5.0, 0, 0], [0, 0, 0, 0]]))  # values are no popularity
    lists = np.array([[1, -1], [0, -1], [0, 1]], np.int32)
    assert exposure.popularity_lift(lists, USERS_OF_ITEM, histories)[:2].tolist() == [0.0, 1.0]
    assert math.isnan(exposure.popularity_lift(lists, USERS_OF_ITEM, histories)[2])


def test_equal_texts_have_no_diversity_orthogonal_ones_have_one_and_opposite_ones_two() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    lists = np.array([[0, 1], [0, 2], [0, 3]], np.int32)
    assert exposure.diversity(lists, vectors) == pytest.approx([0, 1, 2])


def test_items_without_text_do_not_count_for_diversity() -> None:
    vectors = np.array([[1, 0], [0, 0], [0, 1], [0, 0]], np.float32)
    lists = np.array([[0, 1, 2], [0, 1, -1]], np.int32)
    found = exposure.diversity(lists, vectors)
    assert found[0] == pytest.approx(1)
    assert math.isnan(found[1])


@given(lists=short_lists, seed=st.integers(0, 9))
def test_diversity_equals_the_mean_over_pairs(lists: np.ndarray, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(4, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for row, value in zip(lists.tolist(), exposure.diversity(lists, vectors), strict=True):
        shown = [vectors[item] for item in row if item >= 0]
        cosines = [float(a @ b) for n, a in enumerate(shown) for b in shown[:n]]
        assert value == pytest.approx(1 - sum(cosines) / len(cosines)) if cosines else math.isnan(value)


def test_equal_chances_have_no_disparity_and_a_group_that_is_never_listed_the_largest_one() -> None:
    found = exposure.disparity(np.array([[0.2, 0.2], [0.4, 0.0], [0.3, 0.1], [0.0, 0.0]]))
    assert found[:3] == pytest.approx([0, 1, 0.5])  # of two groups |a - b| / (a + b)
    assert math.isnan(found[3])


@given(a=st.floats(0.01, 1), b=st.floats(0, 1), factor=st.floats(0.1, 10))
def test_disparity_is_symmetric_bounded_and_free_of_scale(a: float, b: float, factor: float) -> None:
    values = exposure.disparity(np.array([[a, b], [b, a], [a * factor, b * factor]]))
    assert values == pytest.approx(np.full(3, abs(a - b) / (a + b)))
    assert 0 <= values[0] <= 1 + 1e-12
