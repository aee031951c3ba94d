from __future__ import annotations

import numpy as np
import torch

from models.ranking.fold_in import fold_in
from models.training.bpr import Bpr, bpr_loss
from models.training.settings import Bpr as Settings
from tests.models.small_interactions import from_matrix, histories, random_weights

CPU = torch.device("cpu")
SETTINGS = Settings(
    embedding_dim=4,
    epochs=3,
    learning_rate=0.05,
    regularization=0.3,
    batch_pairs=16,
    seed=1,
)


def test_the_gradient_is_that_of_the_paper() -> None:
    """Rendle et al. 2009, §4.3: ∂/∂x = -σ(-(x·y_i - x·y_j)) (y_i - y_j), and the like for y_i and y_j, plus 2 λ θ."""
    model = Bpr(from_matrix(random_weights()), None, SETTINGS, device=CPU)
    with torch.no_grad():
        model.user_factors *= 30
        model.item_factors *= 30
    pair, negative = torch.tensor([5]), torch.tensor([3])
    u, i = int(model.pairs.users[5]), int(model.pairs.items[5])
    x, y, other = (t.detach().double().numpy() for t in (model.user_factors[u], model.item_factors[i],
                                                         model.item_factors[3]))  # fmt: skip
    assert i != 3
    miss = 1 / (1 + np.exp(x @ (y - other)))
    gradients = torch.autograd.grad(model.loss(pair, negative), [model.user_factors, model.item_factors])
    np.testing.assert_allclose(gradients[0][u], -miss * (y - other) + 2 * 0.3 * x, rtol=1e-4)
    np.testing.assert_allclose(gradients[1][i], -miss * x + 2 * 0.3 * y, rtol=1e-4)
    np.testing.assert_allclose(gradients[1][3], miss * x + 2 * 0.3 * other, rtol=1e-4)
    assert not gradients[1][[k for k in range(9) if k not in (i, 3)]].any()


def test_the_loss_of_equal_scores_is_the_log_of_two_and_that_of_a_wide_margin_nothing() -> None:
    x, y = torch.tensor([[1.0]]), torch.tensor([[50.0]])
    torch.testing.assert_close(bpr_loss(x, y, y, torch.ones(1)), torch.tensor(2.0).log())
    assert float(bpr_loss(x, y, -y, torch.ones(1))) < 1e-30
    torch.testing.assert_close(bpr_loss(x, -y, y, torch.ones(1)), torch.tensor(100.0))


def test_a_pair_of_twice_the_weight_counts_as_two() -> None:
    x, y, other = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    twice = bpr_loss(x, y, other, torch.tensor([2.0, 1.0]))
    rows = torch.tensor([0, 0, 1])
    torch.testing.assert_close(twice, bpr_loss(x[rows], y[rows], other[rows], torch.ones(3)))


def test_a_user_is_the_mean_of_its_items() -> None:
    weights = random_weights(cold=2)
    model = Bpr(from_matrix(weights), None, SETTINGS, device=CPU).factors()
    users = fold_in(model, histories(weights), device=CPU)
    np.testing.assert_allclose(users, weights @ model.item_factors / weights.sum(axis=1, keepdims=True), rtol=1e-5)
