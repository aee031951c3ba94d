from __future__ import annotations

import numpy as np
import pytest

from models.interactions import Interactions, grouped


def ones(n: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.ones(n, np.float32)


REFUSED: list[tuple[list[int], list[int], str]] = [
    ([], [], "0 training interactions"),
    ([0, 0], [1, 1], "not distinct and sorted"),
    ([0, 0, 1, 1], [0, 1, 1, 1], "not distinct and sorted"),
    ([1, 0], [0, 0], "not distinct and sorted"),
    ([0, 0], [1, 0], "not distinct and sorted"),
    ([0, 9], [0, 0], r"user_idx spans 0\.\.9, expected 0\.\.2"),
    ([-1, 0], [0, 0], r"user_idx spans -1\.\.0, expected 0\.\.2"),
    ([0, 1], [0, 7], r"item_idx spans 0\.\.7, expected 0\.\.1"),
    ([0, 1], [0], "make no pairs"),
]


@pytest.mark.parametrize("at_a_time", [1, 2, 100])  # a duplicate may lie across the border of two checks
@pytest.mark.parametrize(("users", "items", "message"), REFUSED)
def test_pairs_that_cannot_be_trained_on_are_refused(
    users: list[int], items: list[int], message: str, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.interactions.PAIRS_AT_A_TIME", at_a_time)
    with pytest.raises(ValueError, match=message):
        Interactions(np.array(users, np.int32), np.array(items, np.int32), ones(len(users)), 3, 2)


@pytest.mark.parametrize("weight", [np.nan, np.inf, 0.0, -1.0])
def test_a_weight_that_is_not_positive_and_finite_is_refused(weight: float) -> None:
    idx = np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="positive finite"):
        Interactions(idx, idx, np.array([weight], np.float32), 1, 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_both_groupings_hold_the_matrix_of_the_pairs(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((9, 7)) < 0.4, rng.uniform(0.5, 2.0, (9, 7)), 0).astype(np.float32)
    matrix[4], matrix[:, 2] = 0, 0  # a user and an item without pairs
    if not weighted:
        matrix = (matrix > 0).astype(np.float32)
    users, items = (idx.astype(np.int32) for idx in np.nonzero(matrix))
    sides = grouped(Interactions(users, items, matrix[users, items], 9, 7))
    for side, expected in zip(sides, (matrix, matrix.T), strict=True):
        assert (side.weights is not None) == weighted
        found = np.zeros_like(expected)
        rows = np.repeat(np.arange(len(expected)), side.counts.numpy())
        found[rows, side.columns.numpy()] = 1 if side.weights is None else side.weights.numpy()
        np.testing.assert_array_equal(found, expected)
        assert (np.diff(rows * 9 + side.columns.numpy()) > 0).all()


def test_weights_that_take_no_memory_are_taken_for_ones() -> None:
    idx = np.arange(3, dtype=np.int32)
    data = Interactions(idx, idx, np.broadcast_to(np.float32(1), 3), 3, 3)
    assert grouped(data)[0].weights is None
