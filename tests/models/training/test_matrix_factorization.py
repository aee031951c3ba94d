from __future__ import annotations

import numpy as np
import pytest
import torch

from models.ranking.fold_in import fold_in
from models.training.matrix_factorization import MatrixFactorization
from models.training.settings import Mf as Settings
from tests.models.small_interactions import from_matrix, histories, random_weights

CPU = torch.device("cpu")
SETTINGS = Settings(
    embedding_dim=4, epochs=300, learning_rate=0.02, unobserved_weight=0.2, regularization=0.05, batch_pairs=50, seed=1
)


def test_the_loss_is_the_equation_written_out() -> None:
    weights = random_weights(cold=2)
    mf = MatrixFactorization(from_matrix(weights), None, SETTINGS, device=CPU)
    x, y = mf.user_factors.detach().double().numpy(), mf.item_factors.detach().double().numpy()
    expected = 0.0
    for u in range(12):
        for i in range(7):
            squares = x[u] @ x[u] + y[i] @ y[i]
            score = x[u] @ y[i]
            expected += 0.2 * (score**2 + 0.05 * squares)
            if weights[u, i]:
                expected += weights[u, i] * (1 - score) ** 2 + 0.05 * squares
    loss = sum(mf.loss(users, rows).item() for users, rows in mf.pairs.user_batches(10))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_a_folded_in_user_is_where_the_training_loss_is_smallest() -> None:
    weights = random_weights(cold=2)
    mf = MatrixFactorization(from_matrix(weights), None, SETTINGS, device=CPU)
    list(mf.epochs())
    folded = fold_in(mf.factors(), histories(weights), device=CPU)
    with torch.no_grad():
        mf.user_factors.copy_(torch.from_numpy(folded))
    everyone, rows = next(mf.pairs.user_batches(1000))
    (gradient,) = torch.autograd.grad(mf.loss(everyone, rows), mf.user_factors)
    assert float(mf.user_factors.detach().norm(dim=1).min()) > 0.1
    assert float(gradient.abs().max()) < 1e-4


def test_alternating_least_squares_finds_little_to_gain_where_descent_ended() -> None:
    weights = random_weights()
    mf = MatrixFactorization(from_matrix(weights), None, SETTINGS, device=CPU)
    losses = [epoch.loss for epoch in mf.epochs()]
    x, y = mf.user_factors.detach().double().numpy(), mf.item_factors.detach().double().numpy()
    for _ in range(300):
        x = alternate(y, weights, 0.2, 0.05)
        y = alternate(x, weights.T, 0.2, 0.05)
    with torch.no_grad():
        mf.user_factors.copy_(torch.from_numpy(x))
        mf.item_factors.copy_(torch.from_numpy(y))
    best = mf.loss(*next(mf.pairs.user_batches(1000))).item() / len(mf.pairs.users)
    assert best < losses[-1] < 1.03 * best < 0.9 * losses[0]


def alternate(
    fixed: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    weights: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    alpha: float,
    lam: float,
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Rows that minimize the objective for the other side held."""
    rows = []
    for w in weights:
        ridge = lam * ((w > 0).sum() + alpha * len(fixed)) * np.eye(fixed.shape[1])
        rows.append(np.linalg.solve(alpha * fixed.T @ fixed + (fixed.T * w) @ fixed + ridge, fixed.T @ w))
    return np.array(rows)
