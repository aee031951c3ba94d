from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.training.pairs import Pairs
from tests.models.small_interactions import from_matrix, random_weights

CPU = torch.device("cpu")


def pairs_of(matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]], *, seed: int = 0) -> Pairs:
    return Pairs(from_matrix(matrix), seed=seed, device=CPU)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_the_negatives_of_a_user_are_the_warm_items_it_has_not(seed: int) -> None:
    matrix = random_weights(6, 7, cold=2, seed=seed)
    pairs = pairs_of(matrix, seed=seed)
    has = matrix[:, pairs.warm.numpy()] > 0
    for user in np.flatnonzero(~has.all(axis=1)):
        first = pairs.starts[user].repeat(300)
        drawn = pairs.negatives(first)
        assert set(drawn.tolist()) == set(np.flatnonzero(~has[user]))


def test_every_negative_is_equally_likely() -> None:
    pairs = pairs_of(np.array([[1.0, 0, 0, 1, 0, 0, 1], [0, 1, 1, 0, 1, 1, 0]]))
    drawn = pairs.negatives(torch.zeros(40_000, dtype=torch.int64))
    shares = torch.bincount(drawn, minlength=7) / 40_000
    torch.testing.assert_close(shares, torch.tensor([0, 0.25, 0.25, 0, 0.25, 0.25, 0]), atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_an_epoch_meets_every_pair_once(size: int) -> None:
    pairs = pairs_of(random_weights())
    batches = list(pairs.batches(size))
    assert all(len(batch) <= size for batch in batches)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(pairs.users)))


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_batch_of_users_has_all_their_pairs_user_by_user(size: int) -> None:
    pairs = pairs_of(random_weights())
    met = []
    for users, rows in pairs.user_batches(size):
        assert pairs.users[rows].tolist() == [int(u) for u in users for _ in range(int(pairs.lengths[u]))]
        assert len(users) == 1 or len(rows) < size + int(pairs.lengths[users[0]])
        met += rows.tolist()
    assert sorted(met) == list(range(len(pairs.users)))
    assert met != sorted(met)


def test_a_user_of_every_item_has_no_negative_and_is_passed_over() -> None:
    pairs = pairs_of(np.array([[1.0, 1, 1], [1, 0, 0]]))
    assert pairs.users[torch.cat(list(pairs.batches(10)))].tolist() == [1]
    assert list(pairs_of(np.ones((2, 2))).batches(10)) == []


def test_items_are_counted_over_those_that_occur() -> None:
    pairs = pairs_of(np.array([[0.0, 2, 0, 3]]))
    assert pairs.items.tolist() == [0, 1]
    assert pairs.warm.tolist() == [False, True, False, True]
    assert pairs.weights.tolist() == [2, 3]
