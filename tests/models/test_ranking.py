"""Top-k over the full catalogue."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from models import references
from models.ranking import recommend, tail_shares, top_k
from models.reranking import none

INF = float("inf")


def sorted_twin(row: list[float], k: int) -> list[int]:
    best = sorted((i for i, score in enumerate(row) if score > -INF), key=lambda i: (-row[i], i))[:k]
    return best + [-1] * (k - len(best))


@given(
    scores=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 12)),
        elements=st.sampled_from([-INF, -1.0, 0.0, 0.5, 2.0]),  # few values, hence many ties
    ),
    k=st.integers(1, 15),
)
def test_top_k_equals_a_sort_by_score_then_item(scores: np.ndarray, k: int) -> None:
    expected = [sorted_twin(row, k) for row in scores.tolist()]
    assert top_k(torch.from_numpy(scores), k=k).tolist() == expected


def test_ties_across_the_cut_go_to_the_smaller_item_in_a_large_catalogue() -> None:
    scores = torch.zeros(3, 10_000)
    scores[1, 9_999] = 1.0
    assert top_k(scores, k=4).tolist() == [[0, 1, 2, 3], [9_999, 0, 1, 2], [0, 1, 2, 3]]


def test_a_nan_score_is_an_error_and_not_the_best_item() -> None:
    with pytest.raises(ValueError, match="NaN"):
        top_k(torch.tensor([[0.1, float("nan"), 0.3]]), k=1)


def test_seen_and_forbidden_items_never_appear_and_short_lists_end_in_minus_one() -> None:
    scores = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    seen = csr_array(np.array([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0]]))
    allowed = np.array([True, True, True, True, False])
    (lists,) = recommend(lambda rows: scores[rows], seen, rows=np.arange(2), allowed=allowed, k=4, batch=8)
    assert lists.tolist() == [[1, 2, 3, -1], [0, 3, -1, -1]]


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_lists_do_not_depend_on_the_batch_size(batch: int) -> None:
    seen = csr_array(np.eye(7, 30))
    scorer = references.random(30, seed=3)
    options = {"seen": seen, "rows": np.arange(7), "allowed": np.ones(30, bool), "k": 5}
    whole = np.concatenate(list(recommend(scorer, batch=100, **options)))  # type: ignore[arg-type]
    parts = np.concatenate(list(recommend(scorer, batch=batch, **options)))  # type: ignore[arg-type]
    assert np.array_equal(whole, parts)


def test_the_tail_shares_of_many_users_are_those_of_each_alone() -> None:
    histories = csr_array(np.array([[1.0, 0, 2.5, 1], [0, 0, 0, 0], [0, 3, 0, 0]]))
    how = none(np.array([False, False, True, True]))
    alone = [how.tail_share(histories[[u]].indices, histories[[u]].data)[0] for u in range(3)]
    assert tail_shares(histories, how.is_tail).tolist() == alone
    assert alone == pytest.approx([3.5 / 4.5, 0, 0])
