from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from models.training.interactions import Grouped, Interactions, by_item, by_user, counts


def ones(n: int) -> npt.NDArray[np.float32]:
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
    monkeypatch.setattr("models.training.interactions.PAIRS_AT_A_TIME", at_a_time)
    with pytest.raises(ValueError, match=message):
        Interactions(np.array(users, np.int32), np.array(items, np.int32), ones(len(users)), 3, 2)


@pytest.mark.parametrize("weight", [np.nan, np.inf, 0.0, -1.0])
def test_a_weight_that_is_not_positive_and_finite_is_refused(weight: float) -> None:
    idx = np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="positive finite"):
        Interactions(idx, idx, np.array([weight], np.float32), 1, 1)


@pytest.mark.parametrize("at_a_time", [1, 5, 1000])
@pytest.mark.parametrize("weighted", [False, True])
def test_grouped_pairs_are_the_matrix_whole_or_in_shares(
    weighted: bool, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((9, 7)) < 0.4, rng.uniform(0.5, 2.0, (9, 7)), 0).astype(np.float32)
    matrix[4], matrix[:, 2] = 0, 0  # a user and an item without pairs
    if not weighted:
        matrix = (matrix > 0).astype(np.float32)
    users, items = (idx.astype(np.int32) for idx in np.nonzero(matrix))
    data = Interactions(users, items, matrix[users, items], 9, 7)
    monkeypatch.setattr("models.training.interactions.PAIRS_AT_A_TIME", at_a_time)
    for share in (slice(0, 9), slice(3, 5), slice(4, 5), slice(9, 9)):
        np.testing.assert_array_equal(dense(by_user(data, share), 7), matrix[share])
    for share in (slice(0, 7), slice(1, 4), slice(2, 3), slice(7, 7)):
        np.testing.assert_array_equal(dense(by_item(data, share), 9), matrix.T[share])
    assert (by_user(data, slice(0, 9)).weights is not None) == weighted
    assert [c.tolist() for c in counts(data)] == [(matrix > 0).sum(1).tolist(), (matrix > 0).sum(0).tolist()]


def dense(side: Grouped, n_columns: int) -> npt.NDArray[np.float32]:
    lengths = side.counts.numpy()
    rows, columns = np.repeat(np.arange(len(lengths)), lengths), side.columns.numpy()
    assert (np.diff(rows * n_columns + columns) > 0).all()  # ascending in a row
    matrix = np.zeros((len(lengths), n_columns), np.float32)
    matrix[rows, columns] = 1 if side.weights is None else side.weights.numpy()
    return matrix


def test_weights_that_take_no_memory_are_taken_for_ones() -> None:
    idx = np.arange(3, dtype=np.int32)
    data = Interactions(idx, idx, np.broadcast_to(np.float32(1), 3), 3, 3)
    assert by_user(data, slice(0, 3)).weights is None
    assert by_item(data, slice(0, 3)).weights is None
