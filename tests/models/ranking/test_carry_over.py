"""An older model over a newer catalogue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.inference.cold_level import ColdLevel
from models.inference.reranking import Rerank
from models.inference.user_side import Pooling
from models.ranking.carry_over import carry_over
from tests.models.small_factors import pooled_factors, small_factors

SOURCE = np.array([2, -1, 0])  # the model's items 2 and 0, with a new one between


def test_known_items_keep_their_rows_and_unknown_ones_are_never_recommended() -> None:
    model = small_factors(n_items=3, d=4)
    aligned, recommendable = carry_over(model, SOURCE, None)
    assert np.array_equal(aligned.item_factors[[0, 2]], model.item_factors[[2, 0]])
    assert np.array_equal(aligned.popularity_bias[[0, 2]], model.popularity_bias[[2, 0]])
    assert recommendable.tolist() == [True, False, True]


def test_unknown_items_get_the_text_anchor_of_the_model_and_no_popularity() -> None:
    model = small_factors(n_items=3, d=4, t=2)
    embeddings = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    aligned, recommendable = carry_over(model, SOURCE, embeddings)
    assert np.allclose(aligned.item_factors[1], model.anchors(embeddings[1:2])[0])
    assert aligned.popularity_bias[1] == 0
    assert recommendable.all()


def test_unknown_items_with_text_get_the_bonus_of_cold_ones_and_known_ones_keep_theirs() -> None:
    cold = ColdLevel(np.array([True, False, False]), np.zeros(4, np.float32), np.eye(4, dtype=np.float32), 0.5)
    model = replace(small_factors(n_items=3, d=4), cold=cold)
    embeddings = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)
    aligned, _ = carry_over(model, np.array([2, -1, 0, -1]), embeddings)
    assert aligned.cold is not None
    assert aligned.cold.anchored.tolist() == [False, True, True, False]
    unaided, _ = carry_over(model, SOURCE, None)
    assert unaided.cold is not None
    assert unaided.cold.anchored.tolist() == [False, False, True]


@pytest.mark.parametrize("t", [0, 5])
def test_a_model_of_other_or_no_text_does_not_anchor_unknown_items(t: int) -> None:
    _, recommendable = carry_over(small_factors(n_items=3, d=4, t=t), SOURCE, np.ones((3, 2), np.float32))
    assert recommendable.tolist() == [True, False, True]


def test_items_that_a_pooling_model_does_not_know_say_nothing_of_a_user() -> None:
    model = pooled_factors(n_items=3, d=2)
    aligned, _ = carry_over(model, SOURCE, None)
    assert np.allclose(aligned.fold_in([np.array([0])]), model.fold_in([np.array([2])]), atol=1e-6)
    for side in aligned.users:
        assert not isinstance(side, Pooling) or not side.sources[1].any()


def test_lists_of_an_older_model_are_re_ranked_over_its_own_items_and_unknown_ones_are_tail() -> None:
    how = Rerank("slots", 0.5, np.array([False, True, True]), np.array([0, 3, 7], np.float32))
    aligned, _ = carry_over(replace(small_factors(n_items=3, d=4), rerank=how), SOURCE, None)
    assert aligned.rerank is not None
    assert aligned.rerank.is_tail.tolist() == [True, True, False]
    assert aligned.rerank.against.tolist() == [7, 0, 0]
