from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.sparse import csr_array

from models.ranking.fold_in import fold_in
from models.training.als import Als, Interactions
from models.training.anchor import TextAnchor
from models.training.settings import Als as Settings

CPU = torch.device("cpu")
SETTINGS = Settings(
    embedding_dim=6,
    epochs=3,
    unobserved_weight=0.2,
    regularization=0.5,
    frequency_exponent=0.7,
    cg_steps=40,  # more than a system of six unknowns needs: exact
    seed=3,
)


def interactions(n_users: int = 30, n_items: int = 20, *, seed: int = 0, cold: int = 0) -> Interactions:
    """Random distinct pairs with random weights; every user has one, the last `cold` items have none."""
    rng = np.random.default_rng(seed)
    matrix = rng.random((n_users, n_items - cold)) < 0.2
    matrix[np.arange(n_users), rng.integers(0, n_items - cold, n_users)] = True
    matrix[rng.integers(0, n_users, n_items - cold), np.arange(n_items - cold)] = True
    users, items = np.nonzero(matrix)
    weights = rng.uniform(0.5, 2.0, len(users)).astype(np.float32)
    return Interactions(users.astype(np.int32), items.astype(np.int32), weights, n_users, n_items)


def trained(
    data: Interactions, settings: Settings = SETTINGS, anchor: TextAnchor | None = None
) -> tuple[Als, list[float]]:
    als = Als(data, anchor, settings, device=CPU)
    return als, [epoch.loss for epoch in als.epochs()]


def dense_half_sweep(
    fixed: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], lam: npt.NDArray[np.float64],
    prior: npt.NDArray[np.float64], alpha: float, active: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:  # fmt: skip
    """The slow twin: every row's normal equations formed and solved; weights (rows, columns), 0 where unobserved."""
    d = fixed.shape[1]
    gram = alpha * fixed[active].T @ fixed[active]
    return np.stack(
        [
            np.linalg.solve(gram + (fixed * w[:, None]).T @ fixed + ridge * np.eye(d), fixed.T @ w + ridge * p)
            for w, ridge, p in zip(weights, lam, prior, strict=True)
        ]
    )


@pytest.mark.parametrize("with_text", [False, True])
def test_each_half_sweep_equals_a_dense_solve(with_text: bool) -> None:
    data = interactions(cold=3)
    text = torch.from_numpy(np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32))
    anchor = TextAnchor(text, strength=0.8, ridge=1.0) if with_text else None
    als = Als(data, anchor, replace(SETTINGS, epochs=1), device=CPU)
    y0 = als.item_factors.double().numpy().copy()
    prior = anchor.predict().double().numpy() if anchor is not None else np.zeros_like(y0)
    next(als.epochs())

    c = np.zeros((30, 20))
    c[data.user_idx, data.item_idx] = data.weights
    warm = np.isin(np.arange(20), data.item_idx)
    lam_u, lam_i = als.user_regularization.double().numpy(), als.item_regularization.double().numpy()
    x = dense_half_sweep(y0, c, lam_u, np.zeros((30, 6)), 0.2, warm)
    y = dense_half_sweep(x, c.T, lam_i, prior, 0.2, np.ones(30, np.bool_))
    found_x, found_y = als.user_factors.numpy(), als.item_factors.numpy()[warm]
    # all factors are turned while training: what a rotation leaves as it is determines the rest
    np.testing.assert_allclose(found_x @ found_x.T, x @ x.T, atol=1e-5)
    np.testing.assert_allclose(found_x @ found_y.T, x @ y[warm].T, atol=1e-5)
    np.testing.assert_allclose(found_y @ found_y.T, y[warm] @ y[warm].T, atol=1e-5)


def test_the_mean_regularization_is_the_setting_and_grows_with_frequency() -> None:
    als, _ = trained(interactions())
    lam, counts = als.user_regularization.numpy(), als.users.counts.numpy()
    assert lam.mean() == pytest.approx(SETTINGS.regularization, rel=1e-5)
    expected = (counts + 0.2 * als.n_warm) ** 0.7
    np.testing.assert_allclose(lam / lam[0], expected / expected[0], rtol=1e-5)


@pytest.mark.parametrize("with_text", [False, True])
def test_the_loss_never_rises(with_text: bool) -> None:
    """With text too: factors and anchor descend one objective, of which a tiny ridge is the only part not counted."""
    text = torch.from_numpy(np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32))
    anchor = TextAnchor(text, strength=1.0, ridge=1e-6) if with_text else None
    _, losses = trained(interactions(cold=3), replace(SETTINGS, epochs=8, cg_steps=2), anchor)
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(losses))


def test_the_reported_loss_is_the_objective() -> None:
    data = interactions()
    als, losses = trained(data)
    x, y = als.user_factors.double().numpy(), als.item_factors.double().numpy()
    scores = x @ y.T
    objective = (data.weights * (1 - scores[data.user_idx, data.item_idx]) ** 2).sum() + 0.2 * (scores**2).sum()
    objective += (als.user_regularization.double().numpy() * (x**2).sum(1)).sum()
    objective += (als.item_regularization.double().numpy() * (y**2).sum(1)).sum()
    assert losses[-1] == pytest.approx(objective / len(data.weights), rel=1e-4)


def test_equal_seeds_give_equal_factors_and_other_seeds_others() -> None:
    first, second = (trained(interactions())[0].item_factors for _ in range(2))
    other = trained(interactions(), replace(SETTINGS, seed=4))[0].item_factors
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)


def test_a_withheld_checkerboard_item_ranks_first() -> None:
    """Even users like even items, odd users odd ones; a pair withheld from each user is what comes first."""
    users, items = np.nonzero(np.add.outer(np.arange(20), np.arange(12)) % 2 == 0)
    withheld = {u: u % 2 + 2 * (u // 2 % 6) for u in range(20)}
    keep = np.array([withheld[int(u)] != i for u, i in zip(users, items, strict=True)])
    users, items = users[keep].astype(np.int32), items[keep].astype(np.int32)
    als, _ = trained(Interactions(users, items, np.ones(len(users), np.float32), 20, 12))
    scores = (als.user_factors @ als.item_factors.T).numpy()
    scores[users, items] = -np.inf
    assert scores.argmax(axis=1).tolist() == [withheld[u] for u in range(20)]


def test_an_item_without_interactions_gets_the_factor_its_text_predicts() -> None:
    """Two groups of items whose text tells them apart: a cold item of a group lies by its group's factors."""
    rng = np.random.default_rng(0)
    group = np.arange(20) % 2
    text = np.eye(2)[group] + 0.01 * rng.normal(size=(20, 2))
    users, items = np.nonzero((np.arange(40) % 2)[:, None] == group[None, :18])
    data = Interactions(users.astype(np.int32), items.astype(np.int32), np.ones(len(users), np.float32), 40, 20)
    anchor = TextAnchor(torch.from_numpy(text.astype(np.float32)), strength=1.0, ridge=0.01)
    als, _ = trained(data, anchor=anchor)
    scores = als.user_factors @ als.item_factors.T
    assert (scores[0::2, 18] > 3 * scores[0::2, 19].abs()).all()
    assert (scores[1::2, 19] > 3 * scores[1::2, 18].abs()).all()


def test_the_exported_anchor_predicts_the_cold_factors() -> None:
    data = interactions(cold=4)
    text = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    text[19] = 0  # no text
    als, _ = trained(data, anchor=TextAnchor(torch.from_numpy(text), strength=0.9, ridge=0.5))
    model = als.factors()
    np.testing.assert_allclose(model.anchors(text)[16:], model.item_factors[16:], atol=1e-5)


def test_without_text_a_cold_item_has_the_zero_factor() -> None:
    als, _ = trained(interactions(cold=2))
    assert not als.item_factors[18:].any()


def test_folding_in_a_training_history_gives_the_users_own_factor() -> None:
    data = interactions()
    data = replace(data, weights=np.ones_like(data.weights))
    als = Als(data, None, replace(SETTINGS, epochs=1), device=CPU)
    y0 = als.item_factors.clone()
    next(als.epochs())  # its users were solved against y0
    users = als.user_factors.numpy()
    als.item_factors = y0
    model = als.factors()
    histories = csr_array((data.weights, (data.user_idx, data.item_idx)), shape=(30, 20))
    loop = model.fold_in([histories[[u]].indices for u in range(30)])
    for folded in (loop, fold_in(model, histories, device=CPU)):  # equal up to the turns of training
        np.testing.assert_allclose(folded @ folded.T, users @ users.T, atol=1e-5)


def test_one_user_and_one_item_train_to_finite_factors() -> None:
    one = np.zeros(1, np.int32)
    als, losses = trained(Interactions(one, one, np.ones(1, np.float32), 1, 1))
    assert losses[-1] < 1  # better than predicting 0
    assert torch.isfinite(als.item_factors).all()


def test_more_dimensions_than_the_data_has_rank_train_to_what_its_rank_gives() -> None:
    """Two blocks of users and items have rank 2: the further dimensions stay empty and change no score."""
    users, items = np.nonzero(np.add.outer(np.arange(20), np.arange(12)) % 2 == 0)
    data = Interactions(users.astype(np.int32), items.astype(np.int32), np.ones(len(users), np.float32), 20, 12)
    scores = []
    for d in (2, 40):
        als, losses = trained(data, replace(SETTINGS, embedding_dim=d, epochs=60, regularization=0.1))
        assert all(after <= before * (1 + 1e-6) for before, after in pairwise(losses))
        scores.append((als.user_factors @ als.item_factors.T).numpy())
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)
    assert scores[0][users, items].min() > 0.5


@pytest.mark.parametrize("with_text", [False, True])
@pytest.mark.parametrize("change", [{"regularization": 1e-300}, {"regularization": 3e38}, {"unobserved_weight": 1e300}])
def test_a_setting_that_overflows_is_refused_and_yields_no_factors(change: dict[str, Any], with_text: bool) -> None:
    anchor = TextAnchor(torch.eye(20), strength=1.0, ridge=1.0) if with_text else None
    with pytest.raises(ValueError, match=r"training diverged|regularization of a row"):
        trained(interactions(), replace(SETTINGS, embedding_dim=40, **change), anchor)


def test_embeddings_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        TextAnchor(torch.tensor([[float("nan")]]), strength=1.0, ridge=1.0)
