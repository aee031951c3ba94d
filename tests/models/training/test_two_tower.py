from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.ranking.fold_in import fold_in
from models.training.anchor import TextAnchor
from models.training.settings import TwoTower as Settings
from models.training.two_tower import Tower, TwoTower, sampled_softmax
from tests.models.small_interactions import from_matrix, histories, random_weights

CPU = torch.device("cpu")
SETTINGS = Settings(
    embedding_dim=4, hidden=6, epochs=3, learning_rate=0.01, weight_decay=0.01,
    id_dropout=0.3, batch_pairs=16, negatives=20, seed=1,
)  # fmt: skip


def text(n: int = 9, t: int = 3) -> TextAnchor:
    rng = np.random.default_rng(5)
    return TextAnchor(torch.from_numpy(rng.normal(size=(n, t)).astype(np.float32)), strength=1.0, ridge=1.0)


def test_with_every_item_drawn_once_the_loss_is_the_softmax() -> None:
    scores = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)) * 3
    positive = torch.tensor([0, 3, 3, 7, 1])
    hits = torch.arange(8)[None] == positive[:, None]
    losses = sampled_softmax(scores[torch.arange(5), positive], scores, torch.ones(8), hits)
    torch.testing.assert_close(losses, torch.nn.functional.cross_entropy(scores, positive, reduction="none"))


def test_a_draw_counts_by_how_rare_it_is() -> None:
    """By hand: score 0 of the positive, draws of scores ln 2 and ln 3 expected 4 and half a time: 1 + 2/4 + 3/0.5."""
    sampled, expected = torch.tensor([[2.0, 3.0]]).log(), torch.tensor([4.0, 0.5])
    loss = sampled_softmax(torch.zeros(1), sampled, expected, torch.zeros(1, 2, dtype=torch.bool))
    assert loss.exp().item() == pytest.approx(7.5)
    hit = sampled_softmax(torch.zeros(1), sampled, expected, torch.tensor([[False, True]]))
    assert hit.exp().item() == pytest.approx(1.5)


def test_the_estimated_sum_is_right_on_average_whatever_the_popularity() -> None:
    weights = random_weights(40, 9)
    weights[5:, 4:] = 0  # some items are drawn far more often than others
    model = TwoTower(from_matrix(weights), None, replace(SETTINGS, negatives=100_000), device=CPU)
    scores = torch.randn(9, generator=torch.Generator().manual_seed(0))
    drawn = model.draw(100_000)
    assert float(model.proposal.max() / model.proposal.min()) > 2
    expected = (model.proposal[drawn] * len(drawn)).float()
    loss = sampled_softmax(scores[:1], scores[None, drawn], expected, drawn[None] == 0)
    assert loss.item() == pytest.approx(float(scores.logsumexp(0) - scores[0]), rel=0.02)


def test_an_item_is_left_out_of_the_history_that_predicts_it() -> None:
    weights = random_weights()
    weights[3] = 0
    weights[3, 2] = 1.5  # nothing is left of its history
    model = TwoTower(from_matrix(weights), text(), SETTINGS, device=CPU)
    users, rows = next(model.pairs.user_batches(1000))
    tower = model.user_tower
    features = tower.features(tower.ids, model.warm_idx)
    expected = []
    for row in rows.tolist():
        w = torch.from_numpy(weights[int(model.pairs.users[row])]).float()
        w[int(model.pairs.items[row])] = 0
        expected.append(tower.perceptron(w @ features / w.sum().clamp(min=1e-30)))
    torch.testing.assert_close(model.without_itself(users, rows), torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_the_exported_scores_are_those_of_the_towers() -> None:
    weights = random_weights(cold=2)
    model = TwoTower(from_matrix(weights), text(), SETTINGS, device=CPU)
    list(model.epochs())
    exported = model.factors()
    scores = fold_in(exported, histories(weights), device=CPU) @ exported.item_factors.T

    centred = text().embeddings - text().embeddings.mean(0)
    features = centred / (centred**2).sum(1).mean().sqrt()  # (9, t)

    def side(tower: Tower, x: torch.Tensor) -> torch.Tensor:
        w, b = tower.weights, tower.biases
        return torch.relu(x @ w[0] + b[0]) @ w[1] + b[1]

    ids = torch.zeros(2, 9, 4)
    ids[0, :7], ids[1, :7] = model.user_tower.ids.detach(), model.item_tower.ids.detach()
    history = torch.from_numpy(weights / weights.sum(axis=1, keepdims=True)).float()
    x = side(model.user_tower, history @ (ids[0] + features @ model.user_tower.projection))
    y = side(model.item_tower, ids[1] + features @ model.item_tower.projection)
    np.testing.assert_allclose(scores, (x @ y.T).detach(), atol=1e-4)
