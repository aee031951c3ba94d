from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.evaluation import Catalogue, Relevant
from models.factors import Factors
from models.tail_setting import Holdout, Outcome, choose, sweep
from models.user_side import LeastSquares


def test_the_largest_tail_coverage_within_the_loss_is_chosen() -> None:
    outcomes = [Outcome(0.0, 0.50, 0.1), Outcome(1.0, 0.495, 0.2), Outcome(2.0, 0.48, 0.4)]
    assert choose(outcomes, max_ndcg_loss=0.02).strength == 1.0
    assert choose(outcomes, max_ndcg_loss=0.05).strength == 2.0
    assert choose(outcomes, max_ndcg_loss=0.0).strength == 0.0


def test_the_loss_is_counted_from_the_best_strength_even_where_that_is_not_zero() -> None:
    outcomes = [Outcome(0.0, 0.40, 0.9), Outcome(1.0, 0.50, 0.2)]
    assert choose(outcomes, max_ndcg_loss=0.1).strength == 1.0


def test_ties_go_to_the_better_ndcg_then_to_the_smaller_strength() -> None:
    assert choose([Outcome(0.0, 0.5, 0.2), Outcome(1.0, 0.51, 0.2)], max_ndcg_loss=0.1).strength == 1.0
    assert choose([Outcome(1.0, 0.5, 0.2), Outcome(0.0, 0.5, 0.2)], max_ndcg_loss=0.1).strength == 0.0


def test_a_sweep_shows_more_of_the_tail_as_the_strength_grows() -> None:
    """40 items, the first 20 popular; all share one direction that every user likes, popular ones a little more."""
    rng = np.random.default_rng(0)
    factors = (1 + 0.1 * rng.random((40, 4))).astype(np.float32)
    factors[:20] += 0.2
    bias = np.where(np.arange(40) < 20, 1.0, 0.1).astype(np.float32)
    none = np.zeros(0, np.float32)
    users = (LeastSquares(4, unobserved_weight=0.1, regularization=0.1, frequency_exponent=1.0),)
    model = Factors(factors, factors.T @ factors, 40, users, bias, 0.0, none, np.zeros((1, 4), np.float32))
    histories = csr_array((np.ones(8), (np.arange(8), np.arange(8))), shape=(8, 40))
    holdout = Holdout(histories, Relevant(np.arange(8), np.arange(8) + 10))
    catalogue = Catalogue(np.arange(40)[::-1].copy(), np.arange(40) >= 20, np.zeros(40, np.bool_), 8)
    outcomes = list(sweep(model, holdout, catalogue, [0.0, 0.1, 1.0], batch=3, device=torch.device("cpu")))
    coverage = [outcome.tail_coverage for outcome in outcomes]
    assert coverage == sorted(coverage)
    assert coverage[0] == 0
    assert coverage[-1] >= 0.5
    assert outcomes[0].ndcg > outcomes[-1].ndcg == pytest.approx(0)
