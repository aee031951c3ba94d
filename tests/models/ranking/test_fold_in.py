"""Histories folded into users: the normal equations, sums over items, and many users at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.inference.factors import Factors
from models.inference.user_side import LeastSquares, Pooling
from models.ranking import fold_in
from models.training.als import Als, Interactions
from models.training.settings import Als as Settings
from tests.models.small_factors import pooled_factors, small_factors

CPU = torch.device("cpu")
LENGTHS = [0, 1, 7, 8, 9, 40, 3, 0, 16]  # below, at and above 8 dimensions


def histories() -> tuple[list[np.ndarray], list[np.ndarray], csr_array]:
    """Items and weights of users over 40 items, and both as a sparse matrix."""
    rng = np.random.default_rng(1)
    items = [np.sort(rng.choice(40, length, replace=False)) for length in LENGTHS]
    weights = [rng.uniform(0.2, 5, length) for length in LENGTHS]
    rows = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    matrix = csr_array((np.concatenate(weights), (rows, np.concatenate(items))), shape=(len(LENGTHS), 40))
    return items, weights, matrix


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_a_user_solves_the_normal_equations_of_a_weighted_history(length: int) -> None:
    model = small_factors(n_items=40, d=8)
    rng = np.random.default_rng(length)
    history, w = rng.choice(40, length, replace=False), rng.uniform(0.2, 5, length)
    y, ridge = model.item_factors[history].astype(np.float64), 0.05 * (length + 0.1 * 40)
    a = 0.1 * model.gram + ridge * np.eye(8) + (y * w[:, None]).T @ y
    assert np.allclose(model.fold_in([history], [w])[0], np.linalg.solve(a, y.T @ w), atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_a_user_is_the_weighted_sum_of_what_each_past_item_adds(length: int) -> None:
    ((side, items, _),) = small_factors(n_items=40, d=8).sides()
    rng = np.random.default_rng(length)
    history, w = rng.choice(40, length, replace=False), rng.uniform(0.2, 5, length)
    assert isinstance(side, LeastSquares)
    assert np.allclose(w @ side.response(items, history, w), side.fold_in(items, history, w), atol=1e-10)


def test_users_are_those_that_training_finds_with_item_factors_fixed() -> None:
    """A half-sweep of many conjugate-gradient steps against the fold-in of the same weighted histories."""
    items, weights, matrix = histories()
    present = [row for row, length in enumerate(LENGTHS) if length]
    pairs = matrix[present].tocoo()
    order = np.lexsort((pairs.col, pairs.row))
    data = Interactions(
        pairs.row[order].astype(np.int32), pairs.col[order].astype(np.int32), pairs.data[order].astype(np.float32),
        len(present), 40,
    )  # fmt: skip
    setting = Settings(8, 1, unobserved_weight=0.2, regularization=0.5, frequency_exponent=0.7, cg_steps=100, seed=3)
    als = Als(data, None, setting, device=CPU)
    model = als.factors()
    model = replace(model, item_factors=model.item_factors.copy())  # as they are before training
    trained = next(als.epochs()).user_factors.numpy()
    for fixed in (model, model.in_eigenbasis()):
        users = fold_in.fold_in(fixed, matrix[present], device=CPU)
        loop = fixed.fold_in([items[row] for row in present], [weights[row] for row in present])
        for folded in (users, loop):  # equal up to the turns of training
            assert np.allclose(folded @ folded.T, trained @ trained.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", [small_factors(n_items=40, d=8), pooled_factors(n_items=40, d=8)])
def test_in_the_eigenbasis_scores_and_predictions_from_text_are_the_same(model: Factors) -> None:
    items, weights, matrix = histories()
    turned = model.in_eigenbasis()
    scores = model.fold_in(items, weights) @ model.item_factors.T
    assert np.allclose(turned.fold_in(items, weights) @ turned.item_factors.T, scores, atol=1e-4)
    assert np.allclose(fold_in.fold_in(turned, matrix, device=CPU) @ turned.item_factors.T, scores, atol=1e-4)
    text = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    assert np.allclose(
        turned.anchors(text) @ turned.item_factors.T, model.anchors(text) @ model.item_factors.T, atol=1e-4
    )


def test_a_weight_of_two_counts_like_the_item_twice_but_for_the_frequency() -> None:
    side = LeastSquares(8, unobserved_weight=0.1, regularization=0.05, frequency_exponent=0.0)
    model = small_factors(n_items=40, d=8)
    ((_, items, _),) = model.sides()
    twice = side.fold_in(items, np.array([3, 3, 5]), np.ones(3))
    assert np.allclose(side.fold_in(items, np.array([3, 5]), np.array([2.0, 1.0])), twice)


def test_pooling_adds_up_sources_and_divides_by_a_power_of_their_weight() -> None:
    sources = np.array([[1, 0], [0, 2], [4, 4]], np.float32)
    ((_, items, _),) = small_factors(n_items=3, d=2).sides()
    history, w = np.array([0, 1]), np.array([1.0, 3.0])
    for exponent, expected in ((0.0, [1, 6]), (0.5, [0.5, 3]), (1.0, [0.25, 1.5])):
        assert np.allclose(Pooling(sources, exponent).fold_in(items, history, w), expected)


@pytest.mark.parametrize("cells", [1, 2**22])  # one user a batch, all in a few
@pytest.mark.parametrize("model", [small_factors(n_items=40, d=8), pooled_factors(n_items=40, d=8)])
def test_batched_fold_in_equals_the_loop_for_short_long_and_empty_histories(
    cells: int, model: Factors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_in, "CELLS", cells)
    items, weights, matrix = histories()
    users = fold_in.fold_in(model, matrix, device=CPU)
    assert np.allclose(users, model.fold_in(items, weights), atol=1e-5)
    assert not users[[0, 7]].any()


def test_the_scores_of_several_sides_add_up() -> None:
    model = pooled_factors(n_items=40, d=8)
    items, weights, _ = histories()
    users = model.fold_in(items, weights)
    parts = [users[:, span] @ side_items.factors.T for _, side_items, span in model.sides()]
    assert len(parts) == 3
    assert np.allclose(sum(parts), users @ model.item_factors.T, atol=1e-3)


def test_sides_that_do_not_fill_the_dimensions_are_refused() -> None:
    model = small_factors(n_items=4, d=3)
    arrays, tree = model.to_tensors()
    tree["users"]["0"]["dim"] = 2
    with pytest.raises(ValueError, match=r"\[2\] dimensions, the items 3"):
        Factors.from_tensors(arrays, tree)
