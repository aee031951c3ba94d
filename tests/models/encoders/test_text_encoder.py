from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.compute.device import choose
from models.encoders.packed_encoder import Run
from models.encoders.text_encoder import batches, encode, pool


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 500))
def test_batches_hold_every_text_that_has_tokens_once_and_stay_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    cut = list(batches(np.array(lengths, np.intp), budget))
    assert sorted(row for rows in cut for row in rows) == [row for row, length in enumerate(lengths) if length]
    for rows in cut:
        assert len(rows) == 1 or sum(lengths[row] for row in rows) <= budget


def test_batches_are_as_full_as_the_budget_allows() -> None:
    assert [rows.tolist() for rows in batches(np.array([2, 9, 2, 2, 5]), 6)] == [[1], [4], [0, 2, 3]]


STATES = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 0.0], [7.0, 0.0], [9.0, 3.0]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [[2.0, 3.0], [7.0, 1.0]]), ("cls", [[1.0, 2.0], [5.0, 0.0]]), ("last", [[3.0, 4.0], [9.0, 3.0]])],
)
def test_pooling_stays_within_each_text(pooling: str, expected: list[list[float]]) -> None:
    assert pool(STATES, [Run(2, 1), Run(3, 1)], pooling).tolist() == expected  # type: ignore[arg-type]


def ones(ids: Tensor, runs: Sequence[Run]) -> Tensor:
    """States that say of every token its id and of every text how long it is."""
    lengths = torch.cat([torch.full((run.length * run.texts,), run.length) for run in runs])
    return torch.stack([ids, lengths, torch.full_like(ids, 1000)], dim=1).float()


def test_vectors_come_back_to_the_rows_of_their_texts() -> None:
    tokens = [[3], [], [5, 5], [3]]
    vectors = np.full((4, 2), np.nan, np.float32)
    for rows, values in encode(ones, tokens, pooling="mean", batch_tokens=3, dim=2):
        vectors[rows] = values
    expected = np.array([[3, 1], [0, 0], [5, 2], [3, 1]]) / np.sqrt([[10], [1], [29], [10]])
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)


def test_leading_components_are_kept_before_the_vector_is_normalized() -> None:
    ((_, vectors),) = encode(ones, [[4]], pooling="cls", batch_tokens=8, dim=1)
    assert vectors.tolist() == [[1.0]]


def test_no_texts_give_no_batches() -> None:
    assert list(encode(ones, [], pooling="mean", batch_tokens=10, dim=3)) == []


def test_cuda_that_is_absent_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match="no CUDA device"):
        choose("cuda")
    assert choose("auto") == torch.device("cpu")
