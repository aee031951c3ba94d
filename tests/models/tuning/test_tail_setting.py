"""Choice of method and strength of re-ranking on valid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.evaluation.measure import Relevant
from models.evaluation.metric import Catalogue
from models.inference.factors import Factors
from models.inference.reranking import Rerank
from models.inference.user_side import LeastSquares
from models.tuning.tail_setting import Holdout, Outcome, choose, front, sweep
from tests.models.small_factors import small_factors


def result(ndcg: float, tail_coverage: float, *, error: float = 0.0, method: str = "slots") -> Outcome:
    """An outcome where no re-ranking has an NDCG of 0.5."""
    how = Rerank(method, 1.0, np.ones(1, np.bool_), np.zeros(1, np.float32))
    return Outcome(how, ndcg, 0.0, tail_coverage, loss=1 - ndcg / 0.5, loss_error=error)


def test_the_largest_tail_coverage_within_the_loss_is_chosen() -> None:
    outcomes = [result(0.5, 0.1, method="none"), result(0.495, 0.2), result(0.48, 0.4)]
    assert choose(outcomes, max_ndcg_loss=0.02) is outcomes[1]
    assert choose(outcomes, max_ndcg_loss=0.05) is outcomes[2]
    assert choose(outcomes, max_ndcg_loss=0.0) is outcomes[0]


def test_a_loss_that_is_within_the_bound_only_by_luck_is_not() -> None:
    outcomes = [result(0.5, 0.1, method="none"), result(0.495, 0.2, error=0.005), result(0.495, 0.4, error=0.02)]
    assert choose(outcomes, max_ndcg_loss=0.02) is outcomes[1]


def test_ties_go_to_the_better_ndcg_then_to_the_earlier_one() -> None:
    outcomes = [result(0.5, 0.2), result(0.51, 0.2), result(0.51, 0.2)]
    assert choose(outcomes, max_ndcg_loss=0.1) is outcomes[1]


def test_the_front_leaves_out_what_another_one_beats() -> None:
    outcomes = [result(0.5, 0.1), result(0.49, 0.3), result(0.48, 0.2), result(0.49, 0.3), result(0.47, 0.31)]
    assert front(outcomes) == [True, True, False, True, True]  # equal ones do not beat each other


N_USERS, N_ITEMS, N_HEAD = 60, 200, 20


def swept(strengths: dict[str, list[float]]) -> list[Outcome]:
    """Users of many tastes who want what fits, among popular items, which have larger factors, and others."""
    rng = np.random.default_rng(0)
    factors = rng.random((N_ITEMS, 6)).astype(np.float32)
    factors[:N_HEAD] += 0.8
    users = (LeastSquares(6, unobserved_weight=0.1, regularization=0.1, frequency_exponent=1.0),)
    bias, text_mean = np.zeros(N_ITEMS, np.float32), np.zeros(0, np.float32)
    text_weights = np.zeros((1, 6), np.float32)
    model = Factors(factors, factors.T @ factors, N_ITEMS, users, bias, text_mean, text_weights)
    touched = np.stack([rng.choice(N_ITEMS, 6, replace=False) for _ in range(N_USERS)])
    rows = np.repeat(np.arange(N_USERS), 6)
    histories = csr_array((np.ones(len(rows)), (rows, touched.ravel())), shape=(N_USERS, N_ITEMS))
    wanted = rng.integers(0, N_HEAD, N_USERS)
    holdout = Holdout(histories, Relevant(np.arange(N_USERS), wanted))
    catalogue = Catalogue(np.arange(N_ITEMS)[::-1].copy(), np.arange(N_ITEMS) >= N_HEAD, bias > 0, N_USERS)
    return list(sweep(model, histories, holdout, catalogue, strengths, batch=7, device=torch.device("cpu")))


@pytest.mark.parametrize("method", ["popularity", "xquad", "slots"])
def test_a_sweep_shows_more_of_the_tail_as_the_strength_grows(method: str) -> None:
    outcomes = swept({method: [0.1, 0.3, 0.6]})
    assert [outcome.how.method for outcome in outcomes] == ["none", method, method, method]
    coverage = [outcome.tail_coverage for outcome in outcomes]
    assert coverage == sorted(coverage)
    assert coverage[-1] > 1.5 * coverage[0]
    assert outcomes[0].loss == outcomes[0].loss_error == 0
    assert outcomes[-1].loss == pytest.approx(1 - outcomes[-1].ndcg / outcomes[0].ndcg)
    assert outcomes[-1].loss > outcomes[0].loss


def test_slots_are_priced_by_what_the_crowd_is_shown() -> None:
    plain, priced = swept({"slots": [50.0]})
    assert plain.how.against.sum() == 0
    assert (priced.how.against[:N_HEAD] == 0).all()
    assert priced.how.against.sum() >= 2 * N_USERS - 1e-3  # two slots for each user, and what stood above them


def test_what_is_learned_travels_with_the_model() -> None:
    (_, priced) = swept({"slots": [50.0]})
    model = replace(small_factors(n_items=N_ITEMS, d=2), rerank=priced.how)
    read = Factors.from_tensors(*model.to_tensors()).rerank
    assert read is not None
    assert (read.method, read.strength) == ("slots", 50.0)
    assert np.array_equal(read.against, priced.how.against)
    assert np.array_equal(read.is_tail, priced.how.is_tail)
