from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.ranking.fold_in import fold_in
from models.training.bpr import bpr_loss
from models.training.light_gcn import LightGcn, normalized_adjacency
from models.training.pairs import Pairs
from models.training.settings import LightGcn as Settings
from tests.models.small_interactions import from_matrix, histories, random_weights

CPU = torch.device("cpu")
SETTINGS = Settings(embedding_dim=4, layers=3, epochs=3, learning_rate=0.05, regularization=0.0, batch_pairs=16, seed=1)


def propagated(weights: npt.NDArray[np.float64], x: npt.NDArray[np.float64], layers: int) -> npt.NDArray[np.float64]:
    """The slow twin: He et al. 2020, eq. 3 and 4, node by node; users then items, uniform weights of the layers."""
    n_users, n_items = weights.shape
    total = x.copy()
    for _ in range(layers):
        following = np.zeros_like(x)
        for u in range(n_users):
            for i in range(n_items):
                norm = np.sqrt(weights[u].sum() * weights[:, i].sum())
                following[u] += weights[u, i] / norm * x[n_users + i]
                following[n_users + i] += weights[u, i] / norm * x[u]
        x = following
        total += x
    return total / (layers + 1)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_propagation_is_that_of_the_paper(layers: int) -> None:
    weights = random_weights()
    settings = Settings(**{**vars(SETTINGS), "layers": layers})
    gcn = LightGcn(from_matrix(weights), None, settings, device=CPU)
    expected = propagated(weights, gcn.embeddings.detach().double().numpy(), layers)
    np.testing.assert_allclose(gcn.propagate(), expected, atol=1e-6)


def test_the_gradient_is_that_through_the_recorded_propagation() -> None:
    weights = random_weights()
    settings = Settings(**{**vars(SETTINGS), "regularization": 0.2})
    gcn = LightGcn(from_matrix(weights), None, settings, device=CPU)
    batch, negatives = torch.arange(0, 20, 2), torch.arange(10) % 9
    loss = gcn.backward(batch, negatives)

    x = gcn.embeddings.detach().clone().requires_grad_()
    a = gcn.adjacency.to_dense()
    final = (x + a @ x + a @ a @ x + a @ a @ a @ x) / 4
    nodes = gcn.pairs.users[batch], 12 + gcn.pairs.items[batch], 12 + negatives
    twin = bpr_loss(final[nodes[0]], final[nodes[1]], final[nodes[2]], gcn.pairs.weights[batch])
    twin = twin + 0.2 * torch.stack([(x[rows] ** 2).sum() for rows in nodes]).sum() / 10
    (gradient,) = torch.autograd.grad(twin, x)
    assert loss == pytest.approx(twin.item(), rel=1e-5)
    assert gcn.embeddings.grad is not None
    torch.testing.assert_close(gcn.embeddings.grad, gradient)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_folded_in_user_is_the_trained_one_without_its_own_embedding(layers: int) -> None:
    weights = random_weights(cold=2)
    settings = Settings(**{**vars(SETTINGS), "layers": layers})
    gcn = LightGcn(from_matrix(weights), None, settings, device=CPU)
    list(gcn.epochs())
    model = gcn.factors()
    users = gcn.propagate()[:12] - gcn.embeddings.detach()[:12] / (layers + 1)
    assert float(users.norm(dim=1).min()) > 0.01
    folded = fold_in(model, histories(weights), device=CPU)
    np.testing.assert_allclose(folded, users, atol=1e-5)
    np.testing.assert_allclose(model.item_factors[:7], gcn.propagate()[12:], atol=1e-6)


def test_the_adjacency_has_the_largest_eigenvalue_one() -> None:
    """Its eigenvector is √degree: propagation neither grows nor loses what all share."""
    degrees, adjacency = normalized_adjacency(Pairs(from_matrix(random_weights()), seed=0, device=CPU))
    torch.testing.assert_close(adjacency @ degrees.sqrt()[:, None], degrees.sqrt()[:, None])
    assert float(torch.linalg.eigvalsh(adjacency.to_dense()).max()) == pytest.approx(1, abs=1e-5)
