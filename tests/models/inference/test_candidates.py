"""Candidates for re-ranking: selection, merging and relevance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from models.inference import candidates
from models.inference.candidates import best, join, of_scores, relevance
from models.ranking.ranking import shortlist
from models.ranking.seen import Seen

INF = float("inf")
SCORES = hnp.arrays(  # few values, hence many ties, and items that must not appear
    np.float32, st.integers(1, 14), elements=st.sampled_from([-INF, -1.0, 0.0, 0.5, 2.0])
)


def sorted_twin(row: list[float], k: int) -> list[int]:
    found = sorted((i for i, score in enumerate(row) if score > -INF), key=lambda i: (-row[i], i))[:k]
    return found + [-1] * (k - len(found))


@given(SCORES, st.integers(1, 16))
def test_the_best_are_those_of_a_sort_by_score_then_item(scores: np.ndarray, k: int) -> None:
    items, values = best(scores, k)
    assert items[0].tolist() == sorted_twin(scores.tolist(), k)
    assert values[0].tolist() == [scores[i] if i >= 0 else -INF for i in items[0]]


@given(SCORES, st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**14 - 1))
def test_joined_candidates_are_the_best_then_what_the_best_of_the_tail_add(
    scores: np.ndarray, n: int, m: int, tail: int
) -> None:
    is_tail = np.array([bool(tail >> i & 1) for i in range(len(scores))])
    of_tail = np.where(is_tail, scores, -np.inf).astype(np.float32)
    found = join(*best(scores, n), *best(of_tail, m))
    first = sorted_twin(scores.tolist(), n)
    more = [i for i in sorted_twin(of_tail.tolist(), m) if i >= 0 and i not in first]
    assert found.items[0, :n].tolist() == first
    assert [i for i in found.items[0, n:] if i >= 0] == more
    assert np.array_equal(found.relevance > -np.inf, found.items >= 0)


def test_relevance_is_0_for_the_best_and_minus_1_for_the_hundredth_whatever_the_unit() -> None:
    scores = np.linspace(5, -7, 150, dtype=np.float32)[None]
    expected = -np.arange(150) / 99
    assert np.allclose(relevance(scores)[0], expected, atol=1e-5)
    assert np.allclose(relevance(scores * 0.01 + 3)[0], expected, atol=1e-3)


def test_relevance_of_a_short_row_ends_at_minus_1_and_equal_or_absent_scores_leave_no_nan() -> None:
    rows = np.array([[4, 3, 2, -INF], [7, 7, 7, 7], [-INF] * 4, [1, -INF, -INF, -INF]], np.float32)
    assert relevance(rows).tolist() == [[0, -0.5, -1, -INF], [0, 0, 0, 0], [-INF] * 4, [0, -INF, -INF, -INF]]


@pytest.mark.parametrize("k", [5, 30])
def test_a_batch_has_the_same_candidates_as_each_user_alone(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(candidates, "OVERALL", 20)
    monkeypatch.setattr(candidates, "TAIL", 8)
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, size=(9, 60)).astype(np.float32)  # ties across every cut
    is_tail, allowed = np.arange(60) % 3 > 0, rng.random(60) < 0.9
    seen = csr_array(rng.random((9, 60)) < 0.2)
    options: Any = {"rows": np.arange(9), "allowed": allowed, "k": k, "batch": 4}
    batches = shortlist(lambda rows: torch.from_numpy(scores[rows]), Seen(seen), is_tail, **options)
    row = 0
    for found in batches:
        for items, values in zip(found.items, found.relevance, strict=True):
            own = np.where(allowed & ~seen[[row]].toarray()[0], scores[row], -np.inf).astype(np.float32)
            alone = of_scores(own, is_tail, k=k)
            assert np.array_equal(items, alone.items[0])
            assert np.array_equal(values, alone.relevance[0])
            row += 1
    assert row == 9


def test_a_catalogue_without_tail_or_without_anything_unseen_has_candidates_too() -> None:
    scores = np.array([1, 3, 2], np.float32)
    assert [i for i in of_scores(scores, np.zeros(3, np.bool_), k=2).items[0] if i >= 0] == [1, 2, 0]
    nothing = of_scores(np.full(3, -np.inf, np.float32), np.ones(3, np.bool_), k=2)
    assert (nothing.items == -1).all()
    assert (nothing.relevance == -np.inf).all()
