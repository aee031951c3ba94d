"""The scorers that a recommender has to be better than."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.ranking import baselines
from models.ranking.ranking import top_k
from tests.models.small_factors import small_factors


def test_popularity_ranks_by_train_users_and_ties_by_item() -> None:
    scores = baselines.popularity(np.array([3, 9, 3, 0], np.int32))(np.array([5, 6]))
    assert top_k(scores, np.ones(4, bool), k=4)[0].tolist() == [[1, 0, 2, 3]] * 2


def test_masking_the_scores_of_one_batch_leaves_the_next_untouched() -> None:
    scorer = baselines.popularity(np.array([1, 2], np.int32))
    scorer(np.array([0]))[:] = -torch.inf
    assert scorer(np.array([0])).isfinite().all()


def test_random_scores_of_a_user_are_the_same_in_every_batch_and_differ_between_users_and_seeds() -> None:
    scorer = baselines.random(50, seed=1)
    both = scorer(np.array([4, 9]))
    assert torch.equal(both[1], scorer(np.array([9]))[0])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both[0], baselines.random(50, seed=2)(np.array([4]))[0])


def test_content_scores_are_mean_cosines_to_the_history() -> None:
    texts = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)
    histories = csr_array(np.array([[5.0, 0, 2, 0], [0, 0, 0, 0]]))  # weights do not count
    scores = baselines.content(histories, texts, device=torch.device("cpu"))(np.array([1, 0]))
    assert scores[0].tolist() == [0, 0, 0, 0]
    assert scores[1].tolist() == pytest.approx([(1 + 0.6) / 2, 0.4, (0.6 + 1) / 2, 0])


def test_scores_of_factors_are_inner_products() -> None:
    model = small_factors(n_items=6, d=3)
    users = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    scores = baselines.factors(model, users, device=torch.device("cpu"))(np.arange(4))
    assert np.allclose(scores.numpy(), users @ model.item_factors.T, atol=1e-5)
