"""All metrics of one model, and the curves behind them."""

from __future__ import annotations

import math
from collections.abc import Set

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from models.evaluation import exposure, measure
from models.evaluation.metric import Catalogue

CATALOGUE = Catalogue(
    users_of_item=np.array([9, 3, 1, 0]),
    is_tail=np.array([False, True, True, True]),
    is_cold=np.array([False, False, False, True]),
    n_users=10,
)
RELEVANT = measure.Relevant(rows=np.array([0, 0, 1, 2]), items=np.array([0, 1, 0, 3]))
LISTS = np.array([[0, 2], [2, 1], [1, 2]], np.int32)
AMONG_COLD = np.array([[-1, -1], [-1, -1], [3, -1]], np.int32)


def test_tail_and_cold_metrics_see_their_items_only_and_users_who_have_one() -> None:
    per_user = measure.evaluate(LISTS, AMONG_COLD, RELEVANT, CATALOGUE, ks=[1, 2]).per_user
    assert per_user["recall@1"].tolist() == [0.5, 0.0, 0.0]
    np.testing.assert_equal(per_user["tail_recall@2"], [0.0, np.nan, 0.0])  # user 1 wants head items only
    np.testing.assert_equal(per_user["cold_recall@2"], [np.nan, np.nan, 0.0])
    np.testing.assert_equal(per_user["cold_recall_among_cold@1"], [np.nan, np.nan, 1.0])
    assert per_user["aplt@2"].tolist() == [0.5, 1.0, 1.0]


def test_summary_averages_users_counts_lists_together_and_leaves_the_undefined_out() -> None:
    result = measure.evaluate(LISTS, AMONG_COLD, RELEVANT, CATALOGUE, ks=[2])
    values = measure.summary(result, CATALOGUE, ks=[2])
    assert values["recall@2"] == pytest.approx((0.5 + 0 + 0) / 3)
    assert values["tail_recall@2"] == 0.0
    assert values["item_coverage@2"] == 0.75
    assert values["tail_coverage@2"] == pytest.approx(2 / 3)
    warm = measure.Relevant(np.array([0]), np.array([0]))
    assert "cold_recall@2" not in measure.summary(
        measure.evaluate(LISTS, AMONG_COLD, warm, CATALOGUE, ks=[2]), CATALOGUE, ks=[2]
    )


def test_what_needs_users_or_texts_is_left_out_without_them() -> None:
    result = measure.evaluate(LISTS, AMONG_COLD, RELEVANT, CATALOGUE, ks=[2])
    assert result.counts == {}
    assert {"popularity_lift@2", "diversity@2", "poprsp@2", "popreo@2"}.isdisjoint(
        {*result.per_user, *measure.summary(result, CATALOGUE, ks=[2])}
    )


def test_popularity_lift_and_diversity_are_those_of_the_first_k() -> None:
    histories = csr_array(np.array([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]))
    embeddings = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]])
    users = measure.Users(histories, histories)
    result = measure.evaluate(LISTS, AMONG_COLD, RELEVANT, CATALOGUE, ks=[1, 2], users=users, embeddings=embeddings)
    np.testing.assert_allclose(result.per_user["popularity_lift@1"], [0, -0.5, np.nan])
    np.testing.assert_allclose(result.per_user["popularity_lift@2"], [-4 / 9, 0, np.nan])
    np.testing.assert_allclose(result.per_user["diversity@2"], [0.4, 0.2, 0.2])
    assert np.isnan(result.per_user["diversity@1"]).all()


def test_batches_do_not_change_diversity(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 3))
    lists = rng.integers(-1, 9, (7, 4)).astype(np.int32)
    whole = exposure.in_batches(lists, vectors)
    monkeypatch.setattr(exposure, "NUMBERS", 2 * lists.shape[1] * vectors.shape[1])
    assert exposure.in_batches(lists, vectors) == pytest.approx(whole, nan_ok=True)
    assert len(exposure.in_batches(lists[:0], vectors)) == 0


def recall_twin(shown: list[int], wanted: Set[int]) -> float:
    return len(set(shown) & wanted) / len(wanted) if wanted else math.nan


def ndcg_twin(shown: list[int], wanted: Set[int], k: int) -> float:
    gain = sum(1 / math.log2(rank + 1) for rank, item in enumerate(shown, 1) if item in wanted)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
    return gain / ideal if wanted else math.nan


@given(
    lists=st.lists(st.permutations(range(6)), min_size=1, max_size=4),  # rankings of six items, of which k are shown
    wanted=st.lists(st.sets(st.integers(0, 5)), min_size=4, max_size=4),
    tail=st.sets(st.integers(0, 5)),
    cold=st.sets(st.integers(0, 5)),
    k=st.integers(1, 4),
)
def test_tail_and_cold_metrics_equal_their_slow_twins(
    lists: list[list[int]], wanted: list[set[int]], tail: set[int], cold: set[int], k: int
) -> None:
    is_tail, is_cold = (np.isin(np.arange(6), sorted(items)) for items in (tail, cold))
    catalogue = Catalogue(np.arange(6), is_tail, is_cold, n_users=9)
    pairs = [(row, item) for row in range(len(lists)) for item in sorted(wanted[row])]
    relevant = measure.Relevant(*np.array(pairs, np.int64).reshape(-1, 2).T)
    cold_first = [[item for item in row if item in cold] for row in lists]
    padded = np.array([(row + [-1] * 6)[:6] for row in cold_first], np.int32)
    result = measure.evaluate(np.array(lists, np.int32)[:, :4], padded[:, :4], relevant, catalogue, ks=[k])

    for row, ranking in enumerate(lists):
        shown, here = ranking[:k], wanted[row]
        expected = {
            f"recall@{k}": recall_twin(shown, here),
            f"ndcg@{k}": ndcg_twin(shown, here, k),
            f"tail_recall@{k}": recall_twin(shown, here & tail),
            f"tail_ndcg@{k}": ndcg_twin(shown, here & tail, k),
            f"cold_recall@{k}": recall_twin(shown, here & cold),
            f"cold_recall_among_cold@{k}": recall_twin(cold_first[row][:k], here & cold),
        }
        found = {name: float(result.per_user[name][row]) for name in expected}
        assert found == pytest.approx(expected, nan_ok=True)

    shown_items = {item for ranking in lists for item in ranking[:k]}
    values = measure.summary(result, catalogue, ks=[k])
    assert values[f"item_coverage@{k}"] == len(shown_items) / 6
    assert values.get(f"tail_coverage@{k}", math.nan) == pytest.approx(recall_twin([*shown_items], tail), nan_ok=True)


def test_deciles_hold_equal_numbers_of_items_the_most_popular_first() -> None:
    catalogue = Catalogue(np.arange(20), np.ones(20, bool), np.zeros(20, bool), 20)
    assert measure.deciles(catalogue).tolist() == [10 - i // 2 for i in range(20)]


def test_recall_by_decile_counts_pairs_where_their_item_stands() -> None:
    catalogue = Catalogue(np.arange(10, 0, -1), np.ones(10, bool), np.zeros(10, bool), 10)
    relevant = measure.Relevant(np.array([0, 1, 1]), np.array([0, 0, 9]))
    recall = measure.recall_by_decile(np.array([[0, 5], [9, -1]], np.int32), relevant, catalogue)
    np.testing.assert_equal(recall, [0.5, *[np.nan] * 8, 1.0])


def test_lorenz_curve_of_equal_exposure_is_the_diagonal_and_of_one_item_the_corner() -> None:
    assert measure.lorenz(np.full(7, 3.0), points=4) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert measure.lorenz(np.array([0.0, 8.0, 0.0, 0.0]), points=4).tolist() == [0, 0, 0, 0, 1]


@given(shown=hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 9).map(float)))
def test_lorenz_curve_rises_ever_steeper_below_the_diagonal(shown: np.ndarray) -> None:
    curve = measure.lorenz(shown, points=10)
    assert (np.diff(curve, n=2) >= -1e-12).all()
    assert (curve <= np.linspace(0, 1, 11) + 1e-12).all()
