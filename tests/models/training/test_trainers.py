"""One contract for all models, as `implicit` and others test theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.inference.factors import Factors
from models.ranking.fold_in import fold_in
from models.training import als
from models.training import settings as hyperparameters
from models.training.anchor import TextAnchor
from models.training.export import popularity_bias
from models.training.settings import Settings
from models.training.trainers import Trainer, trainer
from tests.models.small_interactions import from_matrix, histories, random_weights

CPU = torch.device("cpu")
ALL: dict[str, Settings] = {
    "als": hyperparameters.Als(4, 10, 0.1, 0.5, 1.0, 5, 3),
    "mf": hyperparameters.Mf(4, 150, 0.02, 0.1, 0.01, 100, 3),
    "bpr": hyperparameters.Bpr(4, 60, 0.03, 0.01, 64, 3),
    "two_tower": hyperparameters.TwoTower(4, 16, 60, 0.01, 0.01, 0.3, 100, 50, 3),
    "light_gcn": hyperparameters.LightGcn(4, 2, 60, 0.03, 1e-3, 64, 3),
}
each = pytest.mark.parametrize("settings", ALL.values(), ids=ALL)
BRIEFLY = {name: replace(settings, epochs=3) for name, settings in ALL.items()}
briefly = pytest.mark.parametrize("settings", BRIEFLY.values(), ids=BRIEFLY)
Matrix = npt.NDArray[np.float64]


def trained(settings: Settings, matrix: Matrix, anchor: TextAnchor | None = None) -> Factors:
    model = trainer(settings, from_matrix(matrix), anchor, device=CPU)
    for _ in model.epochs():
        pass
    return model.factors()


def scores(model: Factors, matrix: Matrix) -> npt.NDArray[np.float32]:
    users = fold_in(model, histories(matrix), device=CPU)
    products: npt.NDArray[np.float32] = users @ model.item_factors.T
    return products


def blocks() -> Matrix:
    """24 users, 12 items, two tastes: even users have even items, odd ones odd items; one even item is everybody's."""
    matrix = np.where((np.arange(24)[:, None] + np.arange(12)) % 2 == 0, 1.0, 0.0)
    matrix[:, 0] = 1
    return matrix


def group_texts() -> TextAnchor:
    """Text that tells the items of the two tastes apart."""
    noise = 0.01 * np.random.default_rng(0).normal(size=(12, 2))
    vectors = np.eye(2)[np.arange(12) % 2] + noise
    return TextAnchor(torch.from_numpy(vectors.astype(np.float32)), strength=1.0, ridge=0.01)


@each
def test_a_withheld_item_of_a_users_taste_ranks_first(settings: Settings) -> None:
    matrix = blocks()
    withheld = np.array([2 + 2 * (u // 2 % 5) - u % 2 for u in range(24)])  # even users: 2 … 10, odd ones: 1 … 9
    assert (matrix[np.arange(24), withheld] == 1).all()
    matrix[np.arange(24), withheld] = 0
    ranked = np.where(matrix > 0, -np.inf, scores(trained(settings, matrix), matrix))
    assert (ranked.argmax(axis=1) == withheld).mean() > 0.9


@each
def test_an_item_without_interactions_lies_by_the_group_of_its_text(settings: Settings) -> None:
    matrix = blocks()
    matrix[:, 10:] = 0  # 10 even, 11 odd
    of_cold = scores(trained(settings, matrix, group_texts()), matrix)[:, 10:]
    assert (of_cold[0::2, 0] > of_cold[0::2, 1]).all()
    assert (of_cold[1::2, 1] > of_cold[1::2, 0]).all()


@briefly
def test_without_text_an_item_without_interactions_has_the_zero_factor(settings: Settings) -> None:
    model = trained(settings, random_weights(cold=2))
    assert not model.item_factors[7:].any()
    assert model.item_factors[:7].all()
    assert model.text_mean.size == 0


@briefly
def test_one_seed_gives_one_model_and_another_seed_another(settings: Settings) -> None:
    matrix = random_weights()
    first, second = (trained(settings, matrix, group_texts_of(9)) for _ in range(2))
    other = trained(replace(settings, seed=4), matrix, group_texts_of(9))
    np.testing.assert_array_equal(first.item_factors, second.item_factors)
    np.testing.assert_array_equal(scores(first, matrix), scores(second, matrix))
    assert not np.allclose(first.item_factors, other.item_factors)


def group_texts_of(n: int) -> TextAnchor:
    return TextAnchor(group_texts().embeddings[:n], strength=1.0, ridge=0.01)


@each
def test_epochs_are_counted_and_the_loss_falls(settings: Settings) -> None:
    model = trainer(settings, from_matrix(blocks()), None, device=CPU)
    epochs = [(epoch.number, epoch.loss) for epoch in model.epochs()]
    assert [number for number, _ in epochs] == list(range(1, settings.epochs + 1))
    assert epochs[-1][1] < epochs[0][1]


@briefly
@pytest.mark.parametrize("matrix", [np.ones((1, 1)), np.ones((1, 4)), np.ones((4, 1)), np.eye(3)[:, [0, 1, 1, 2]]])
def test_the_smallest_data_train_to_finite_factors(settings: Settings, matrix: Matrix) -> None:
    model = trained(settings, matrix, TextAnchor(torch.eye(4)[: matrix.shape[1]], strength=1.0, ridge=1.0))
    assert np.isfinite(model.item_factors).all()
    assert np.isfinite(scores(model, matrix)).all()


@briefly
def test_items_of_which_none_has_text_train_to_finite_factors(settings: Settings) -> None:
    matrix = random_weights(cold=2)
    model = trained(settings, matrix, TextAnchor(torch.zeros(9, 3), strength=1.0, ridge=1.0))
    assert np.isfinite(model.item_factors).all()


@briefly
def test_a_user_may_have_no_pair(settings: Settings) -> None:
    matrix = random_weights()
    matrix[5] = 0
    model = trained(settings, matrix)
    assert not fold_in(model, histories(matrix), device=CPU)[5].any()
    assert np.isfinite(scores(model, matrix)).all()


@briefly
def test_a_model_taken_after_an_epoch_stays_as_it_was(settings: Settings) -> None:
    matrix = random_weights(cold=2)
    run = trainer(settings, from_matrix(matrix), group_texts_of(9), device=CPU)
    epochs = run.epochs()
    next(epochs)
    early = run.factors()
    before = scores(early, matrix).copy()
    assert sum(1 for _ in epochs) == 2
    np.testing.assert_array_equal(scores(early, matrix), before)
    assert not np.allclose(scores(run.factors(), matrix), before)


@pytest.mark.parametrize("name", [name for name in ALL if name != "als"])
def test_divergence_is_an_error_that_says_what_to_do(name: str) -> None:
    settings = BRIEFLY[name]
    assert not isinstance(settings, hyperparameters.Als)
    changes: Any = {"learning_rate": 1e30}
    wild = replace(settings, **changes)
    with pytest.raises(ValueError, match=r"training diverged; lower the model's learning_rate"):
        trained(wild, random_weights())


@briefly
def test_the_parts_that_all_models_share_are_the_same(settings: Settings) -> None:
    matrix = random_weights(cold=2)
    model = trained(settings, matrix)
    counts = (matrix > 0).sum(axis=0)
    np.testing.assert_allclose(model.popularity_bias, np.log1p(counts) / np.log1p(counts.max()), rtol=1e-6)
    np.testing.assert_allclose(model.gram, model.item_factors[:7].T @ model.item_factors[:7], rtol=1e-4, atol=1e-6)
    assert model.n_warm_items == 7


@briefly
def test_what_was_trained_survives_the_file(settings: Settings) -> None:
    matrix = random_weights(cold=2)
    model = trained(settings, matrix, group_texts_of(9))
    again = Factors.from_tensors(*model.to_tensors())
    np.testing.assert_array_equal(scores(again, matrix), scores(model, matrix))


@briefly
def test_a_served_user_is_the_one_that_was_judged(settings: Settings) -> None:
    """One history at a time in numpy, as the service folds in, against the batch."""
    matrix = random_weights(cold=2)
    model = trained(settings, matrix, group_texts_of(9))
    one_by_one = model.fold_in([np.flatnonzero(row) for row in matrix], [row[row > 0] for row in matrix])
    np.testing.assert_allclose(one_by_one, fold_in(model, histories(matrix), device=CPU), atol=1e-4)


def test_popularity_bias_lies_between_nothing_and_one() -> None:
    torch.testing.assert_close(popularity_bias(torch.tensor([0, 1, 3])), torch.tensor([0.0, 0.5, 1.0]))


def test_als_fits_the_protocol() -> None:
    build: Callable[..., Trainer] = als.Als
    assert build(from_matrix(blocks()), None, ALL["als"], device=CPU).device == CPU


LARGER: dict[str, Settings] = {  # as many numbers as libraries share out between threads
    "als": hyperparameters.Als(64, 3, 0.1, 0.5, 1.0, 3, 3),
    "mf": hyperparameters.Mf(64, 2, 0.02, 0.1, 0.01, 5000, 3),
    "bpr": hyperparameters.Bpr(64, 2, 0.03, 0.01, 5000, 3),
    "two_tower": hyperparameters.TwoTower(64, 128, 2, 0.01, 0.01, 0.3, 2000, 500, 3),
    "light_gcn": hyperparameters.LightGcn(64, 2, 2, 0.03, 1e-3, 5000, 3),
}


@pytest.mark.parametrize("settings", LARGER.values(), ids=LARGER)
def test_a_model_is_the_same_for_every_number_of_threads(settings: Settings) -> None:
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((900, 700)) < 0.05, 1.0, 0.0)
    matrix[:, 0] = matrix[0] = 1
    text = torch.from_numpy(rng.normal(size=(700, 384)).astype(np.float32))
    before, found = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            anchor = TextAnchor(text, strength=0.8, ridge=1.0)
            found.add(trained(settings, matrix, anchor).item_factors.tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1
