"""Top-k over the full catalogue."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from models.inference.reranking import none
from models.ranking import baselines, ranking, top_k_torch
from models.ranking.ranking import recommend, tail_shares, top_k
from models.ranking.seen import Seen

INF = float("inf")
Search = Callable[..., ranking.Best]


def sorted_twin(row: list[float], k: int) -> list[int]:
    best = sorted((i for i, score in enumerate(row) if score > -INF), key=lambda i: (-row[i], i))[:k]
    return best + [-1] * (k - len(best))


def of_torch(scores: torch.Tensor, among: np.ndarray, *, k: int) -> ranking.Best:
    return top_k_torch.best(scores, np.flatnonzero(~among), k=k)


each_way = pytest.mark.parametrize("search", [top_k, of_torch])  # compiled for the CPU, and for any device


@each_way
@settings(deadline=None)  # the first call compiles
@given(
    scores=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 12)),
        elements=st.sampled_from([-INF, -1.0, -0.0, 0.0, 0.5, 2.0]),  # few values, hence many ties
    ),
    k=st.integers(1, 15),
    forbidden=st.sets(st.integers(0, 11)),
)
def test_top_k_equals_a_sort_by_score_then_item(
    search: Search, scores: np.ndarray, k: int, forbidden: set[int]
) -> None:
    among = ~np.isin(np.arange(scores.shape[1]), list(forbidden))
    items, values = search(torch.from_numpy(scores.copy()), among, k=k)
    left = np.where(among, scores, -INF)
    assert items.tolist() == [sorted_twin(row, k) for row in left.tolist()]
    expected = np.where(items >= 0, np.take_along_axis(scores, items.clip(0), axis=1), -INF)
    assert np.array_equal(values, expected)


@settings(deadline=None)
@given(
    scores=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 700)),
        elements=st.sampled_from([-INF, -1.0, 0.0, 0.5, 2.0, np.nan]),
    ),
    k=st.integers(1, 9),
)
def test_columns_found_by_groups_of_groups_are_those_of_a_stable_sort(scores: np.ndarray, k: int) -> None:
    largest = top_k_torch.largest(torch.from_numpy(scores), k=k)
    nan_first = np.where(np.isnan(scores), -INF, -scores)
    assert np.array_equal(largest.numpy(), nan_first.argsort(axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("k", [1, 20, 200])
@pytest.mark.parametrize("decimals", [1, 7])  # many ties, hardly any
def test_both_ways_find_the_same_in_a_large_catalogue(k: int, decimals: int) -> None:
    rng = np.random.default_rng(k)
    scores = torch.from_numpy(rng.normal(size=(9, 5003)).round(decimals).astype(np.float32))
    for among in (np.ones(5003, bool), rng.random(5003) < 0.1):
        compiled, other = top_k(scores, among, k=k), of_torch(scores, among, k=k)
        assert np.array_equal(compiled[0], other[0])
        assert np.array_equal(compiled[1], other[1])


@each_way
def test_ties_across_the_cut_go_to_the_smaller_item_in_a_large_catalogue(search: Search) -> None:
    scores = torch.zeros(3, 10_000)
    scores[1, 9_999] = 1.0
    items, _ = search(scores, np.ones(10_000, bool), k=4)
    assert items.tolist() == [[0, 1, 2, 3], [9_999, 0, 1, 2], [0, 1, 2, 3]]


@each_way
def test_a_nan_score_is_an_error_and_not_the_best_item(search: Search) -> None:
    with pytest.raises(ValueError, match="NaN"):
        search(torch.tensor([[0.1, float("nan"), 0.3]]), np.ones(3, bool), k=1)


def test_seen_and_forbidden_items_never_appear_and_short_lists_end_in_minus_one() -> None:
    scores = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    seen = csr_array(np.array([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0]]))
    allowed = np.array([True, True, True, True, False])
    (lists,) = recommend(lambda rows: scores[rows], Seen(seen), rows=np.arange(2), allowed=allowed, k=4, batch=8)
    assert lists.tolist() == [[1, 2, 3, -1], [0, 3, -1, -1]]


@pytest.mark.parametrize(("batch", "tile"), [(1, 2**22), (3, 30), (7, 60), (7, 1)])
def test_lists_do_not_depend_on_batches_or_tiles(batch: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "TILE", tile)
    seen = csr_array(np.eye(7, 30))
    scorer = baselines.random(30, seed=3)
    options = {"seen": Seen(seen), "rows": np.arange(7), "allowed": np.ones(30, bool), "k": 5}
    whole = np.concatenate(list(recommend(scorer, batch=100, **options)))  # type: ignore[arg-type]
    parts = np.concatenate(list(recommend(scorer, batch=batch, **options)))  # type: ignore[arg-type]
    assert np.array_equal(whole, parts)


def test_the_search_runs_ahead_of_a_slow_caller_by_a_few_batches_only() -> None:
    found, asked = baselines.random(30, seed=3), []

    def scorer(rows: np.ndarray) -> torch.Tensor:
        asked.append(len(rows))
        return found(rows)

    options: Any = {"rows": np.arange(200), "allowed": np.ones(30, bool), "k": 5, "batch": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "TILE", 1)
        lists = recommend(scorer, Seen(csr_array((200, 30))), **options)
        next(lists)
        time.sleep(0.2)
        assert sum(asked) <= 1 + 1 + torch.get_num_threads() + 1  # the first asks for the device
        assert len(list(lists)) == 199


def test_the_tail_shares_of_many_users_are_those_of_each_alone() -> None:
    histories = csr_array(np.array([[1.0, 0, 2.5, 1], [0, 0, 0, 0], [0, 3, 0, 0]]))
    how = none(np.array([False, False, True, True]))
    alone = [how.tail_share(histories[[u]].indices, histories[[u]].data)[0] for u in range(3)]
    assert tail_shares(histories, how.is_tail).tolist() == alone
    assert alone == pytest.approx([3.5 / 4.5, 0, 0])
