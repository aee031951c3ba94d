"""Slices of users and of items, on histories small enough to count."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from models.evaluation import measure, slices
from models.evaluation.metric import Catalogue

IS_TAIL = np.array([False, False, True, True, True])
CATALOGUE = Catalogue(np.array([9, 7, 3, 1, 0]), IS_TAIL, np.array([False] * 4 + [True]), n_users=10)


def histories(rows: list[list[int]]) -> csr_array:
    return csr_array(np.array([[float(item in row) for item in range(5)] for row in rows]).reshape(-1, 5))


def test_the_fifth_with_the_smallest_share_of_head_is_niche_and_that_with_the_largest_blockbuster() -> None:
    rows = [[2, 3], [0, 2, 3], [0, 2], [0, 1, 2], [0, 1], []]
    assert slices.user_groups(histories(rows), IS_TAIL).tolist() == [
        *("niche", "diverse", "diverse", "diverse", "blockbuster"),
        "",
    ]


def test_users_who_are_all_alike_have_neither_niche_nor_blockbuster_among_them() -> None:
    assert set(slices.user_groups(histories([[0, 2]] * 7), IS_TAIL).tolist()) == {"diverse"}
    assert slices.user_groups(histories([[], []]), IS_TAIL).tolist() == ["", ""]


@given(rows=st.lists(st.sets(st.integers(0, 4)).map(sorted), min_size=1, max_size=20))
@pytest.mark.slow
def test_groups_are_ordered_by_the_share_of_head_and_equal_users_stay_together(rows: list[list[int]]) -> None:
    groups = slices.user_groups(histories(rows), IS_TAIL).tolist()
    order = {"niche": 0, "diverse": 1, "blockbuster": 2}
    shares = [sum(item < 2 for item in row) / len(row) if row else math.nan for row in rows]
    known = [(share, order[group]) for share, group in zip(shares, groups, strict=True) if group]
    assert len(known) == sum(map(bool, rows))
    for share, group in known:
        assert all(other >= group for more, other in known if more > share)
        assert all(other == group for same, other in known if same == share)


def test_lengths_of_histories_are_told_by_range() -> None:
    lengths = [0, 1, 4, 5, 9, 10, 19, 20, 49, 50, 99, 100, 5000]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    many = csr_array((np.ones(indptr[-1]), np.zeros(indptr[-1], np.int64), indptr), shape=(len(lengths), 5))
    assert slices.history_lengths(many).tolist() == [
        *("0", "1-4", "1-4", "5-9", "5-9", "10-19", "10-19", "20-49", "20-49", "50-99", "50-99", "100+", "100+"),
    ]


def test_an_item_is_head_tail_or_cold_and_stands_in_one_decile() -> None:
    slicings = slices.item_slicings(CATALOGUE)
    assert slicings["part"].tolist() == ["head", "head", "tail", "tail", "cold"]
    assert slicings["decile"].tolist() == ["01", "03", "05", "07", "09"]


def test_a_slice_holds_those_who_share_a_value_and_nobody_without_one() -> None:
    found = slices.members(np.array(["b", "", "a", "b"]))
    assert {name: chosen.tolist() for name, chosen in found.items()} == {
        "a": [False, False, True, False],
        "b": [True, False, False, True],
    }


def test_metrics_of_users_are_means_over_the_chosen_ones_and_coverage_that_of_their_lists() -> None:
    lists = np.array([[0, 1], [0, 2], [3, -1]], np.int32)
    values = {"ndcg@2": np.array([0.2, 0.4, np.nan]), "aplt@2": np.array([0.0, 0.5, 1.0])}
    result = measure.Evaluation(values, lists)
    found = slices.of_users(result, np.array([False, True, True]), n_items=5, k=2)
    assert found["ndcg@2"] == pytest.approx(0.4)
    assert found["aplt@2"] == pytest.approx(0.75)
    assert found["item_coverage@2"] == 0.6
    assert math.isnan(found["tail_recall@2"])
    everybody = slices.of_users(result, np.ones(3, bool), n_items=5, k=1)
    assert everybody["item_coverage@1"] == 0.4


def test_metrics_of_items_count_what_lists_do_for_the_chosen_ones() -> None:
    lists = np.array([[0, 2], [0, 3]], np.int32)
    relevant = measure.Relevant(np.array([0, 0, 1]), np.array([2, 4, 2]))
    tail = slices.of_items(lists, relevant, IS_TAIL, CATALOGUE, k=2)
    assert tail == {"recall@2": pytest.approx(1 / 3), "exposure@2": 0.5, "item_coverage@2": pytest.approx(2 / 3)}
    head = slices.of_items(lists, relevant, ~IS_TAIL, CATALOGUE, k=2)
    assert math.isnan(head["recall@2"])
    assert (head["exposure@2"], head["item_coverage@2"]) == (0.5, 0.5)
    assert slices.of_items(lists, relevant, IS_TAIL, CATALOGUE, k=1)["exposure@1"] == 0.0


@given(seed=st.integers(0, 99))
def test_exposure_of_the_slices_of_a_slicing_adds_up_to_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = np.argsort(rng.random((4, 5)), axis=1)[:, :3].astype(np.int32)
    relevant = measure.Relevant(rng.integers(0, 4, 6), rng.integers(0, 5, 6))
    for values in slices.item_slicings(CATALOGUE).values():
        parts = [slices.of_items(lists, relevant, chosen, CATALOGUE, k=3) for chosen in slices.members(values).values()]
        assert sum(part["exposure@3"] for part in parts) == pytest.approx(1)
