"""Items without interactions, raised as far as accuracy allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.evaluation.measure import Relevant
from models.inference.factors import Factors
from models.inference.user_side import LeastSquares
from models.tuning import cold_items
from models.tuning.cold_items import K, Lists, Outcome, choose, correct, draw, predicted, rank, ridge, without

CPU = torch.device("cpu")
GROUPS, N_ITEMS, N_USERS = 4, 80, 60


def catalogue() -> tuple[Factors, np.ndarray, csr_array, Relevant]:
    """Items and users of four tastes, which texts tell apart; every tenth item is cold, and wanted as much as others.

    Of the items in a user's taste the user has a third; one of the rest is relevant, a cold one for every third user.
    """
    rng = np.random.default_rng(0)
    group = np.arange(N_ITEMS) % GROUPS
    cold = np.arange(N_ITEMS) // GROUPS % 10 == 9
    factors = (np.eye(GROUPS)[group] + 0.15 * rng.normal(size=(N_ITEMS, GROUPS))).astype(np.float32)
    factors[cold] = 0
    text = np.hstack([np.eye(GROUPS)[group], 0.3 * rng.normal(size=(N_ITEMS, 4))]).astype(np.float32)
    histories = np.zeros((N_USERS, N_ITEMS), np.float32)
    wanted = []
    for user in range(N_USERS):
        own = np.flatnonzero((group == user % GROUPS) & ~cold)
        touched, rest = np.split(rng.permutation(own), [len(own) // 3])
        histories[user, touched] = 1
        wanted.append(rng.choice(np.flatnonzero((group == user % GROUPS) & cold)) if user % 3 == 0 else rest[0])
    warm = factors[~cold].astype(np.float64)
    model = Factors(
        item_factors=factors,
        gram=(warm.T @ warm).astype(np.float32),
        n_warm_items=int((~cold).sum()),
        users=(LeastSquares(GROUPS, unobserved_weight=0.05, regularization=0.2, frequency_exponent=0.0),),
        popularity_bias=np.where(cold, 0, 1 - np.arange(N_ITEMS) / 100).astype(np.float32),
        text_mean=np.zeros(0, np.float32),
        text_weights=np.zeros((1, GROUPS), np.float32),
    )
    return model, text, csr_array(histories), Relevant(np.arange(N_USERS), np.array(wanted))


def corrected(*, max_ndcg_loss: float = 0.05) -> tuple[Factors, list[Outcome]]:
    model, text, histories, relevant = catalogue()
    return correct(model, text, histories, relevant, max_ndcg_loss=max_ndcg_loss, seed=1, device=CPU)


def test_cold_items_get_into_lists_of_those_whose_taste_they_are() -> None:
    model, _, histories, _ = catalogue()
    after, _ = corrected()
    assert after.cold is not None
    users = after.fold_in([histories[[u]].indices for u in range(N_USERS)])
    scores = after.queries(users) @ after.item_vectors().T
    scores[histories.nonzero()] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :K]
    shown = [(u % GROUPS, i % GROUPS) for u in range(N_USERS) for i in best[u] if model.popularity_bias[i] == 0]
    assert len(shown) >= N_USERS / 4
    assert np.mean([taste == group for taste, group in shown]) > 0.9


def test_no_more_is_lost_than_allowed_and_a_larger_allowance_finds_no_less() -> None:
    found = []
    for allowance in (0.0, 0.02, 0.5):
        after, outcomes = corrected(max_ndcg_loss=allowance)
        chosen = [o for o in outcomes if after.cold is not None and o.height == after.cold.height]
        assert all(o.loss + o.loss_error <= allowance for o in chosen)
        found.append(max((o.cold_recall for o in chosen), default=0.0))
    assert found == sorted(found)


def test_lists_at_a_height_are_those_of_the_model_at_that_height() -> None:
    """The slow twin of merging: every score with its bonus, sorted."""
    model, text, histories, relevant = catalogue()
    plain = predicted(model, text)
    lists = rank(plain, histories, histories, relevant, allowed=np.ones(N_ITEMS, np.bool_), device=CPU)
    for height in (-0.4, 0.3, 1.2):
        assert plain.cold is not None
        high = replace(plain, cold=replace(plain.cold, height=height))
        scores = high.queries(high.fold_in([histories[[u]].indices for u in range(N_USERS)])) @ high.item_vectors().T
        scores[histories.nonzero()] = -np.inf
        best = np.argsort(-scores, axis=1)[:, :K]
        hits, cold = lists.at(height)
        assert np.array_equal(hits, best == relevant.items[:, None])
        assert np.array_equal(cold, hits & (model.popularity_bias[best] == 0))


def test_below_everything_no_cold_item_is_shown_and_nothing_is_lost() -> None:
    model, text, histories, relevant = catalogue()
    plain = predicted(model, text)
    lists = rank(plain, histories, histories, relevant, allowed=np.ones(N_ITEMS, np.bool_), device=CPU)
    assert not lists.at(-np.inf)[1].any()
    assert lists.loss(-np.inf) == (0, 0)


def test_the_rehearsal_knows_nothing_of_the_items_taken_out() -> None:
    model, text, _, _ = catalogue()
    treated = draw(np.flatnonzero(model.popularity_bias > 0), seed=1)
    other = replace(model, item_factors=model.item_factors.copy())
    other.item_factors[treated] += 100
    a = predicted(without(model, treated), text)
    b = predicted(without(replace(other, gram=other.item_factors.T @ other.item_factors), treated), text)
    np.testing.assert_allclose(a.item_factors, b.item_factors, atol=1e-5)
    np.testing.assert_allclose(a.gram, b.gram, atol=0.05)  # the sum is large, what is taken from it too
    assert a.cold is not None
    assert a.cold.anchored[treated].all()
    assert a.n_warm_items == model.n_warm_items - len(treated)


def test_what_is_predicted_for_the_catalogue_is_what_the_model_says_of_the_text() -> None:
    model, text, _, _ = catalogue()
    after = predicted(model, text)
    cold = model.popularity_bias == 0
    np.testing.assert_allclose(after.item_factors[cold], after.anchors(text[cold]), atol=1e-6)
    assert np.array_equal(after.item_factors[~cold], model.item_factors[~cold])
    again = Factors.from_tensors(*after.to_tensors())
    np.testing.assert_allclose(again.anchors(text[cold]), after.anchors(text[cold]))


def test_an_item_without_text_gets_the_average_factor_and_no_bonus() -> None:
    model, text, _, _ = catalogue()
    text[N_ITEMS - 1] = 0  # a cold one
    after = predicted(model, text)
    assert after.cold is not None
    assert not after.cold.anchored[-1]
    warm = model.popularity_bias > 0
    np.testing.assert_allclose(after.item_factors[-1], model.item_factors[warm].mean(axis=0), atol=1e-5)


def test_neighbours_correct_what_a_linear_map_cannot_say() -> None:
    """Factors that turn with a single text dimension: neighbours follow, a straight line does not."""
    x = np.linspace(-3, 3, 120)
    text = np.stack([x, np.ones(120)], axis=1).astype(np.float32)
    factors = np.stack([np.cos(2 * x), np.sin(2 * x)], axis=1).astype(np.float32)
    cold = np.arange(120) % 7 == 3
    model = replace(
        catalogue()[0],
        item_factors=np.where(cold[:, None], 0, factors),
        gram=factors[~cold].T @ factors[~cold],
        users=(LeastSquares(2, 0.05, 0.2, 0.0),),
        popularity_bias=np.where(cold, 0, 1).astype(np.float32),
        text_weights=np.zeros((1, 2), np.float32),
    )
    after = predicted(model, text)
    straight = replace(after, neighbours=None).anchors(text[cold])
    error, of_line = (float(((y - factors[cold]) ** 2).mean()) for y in (after.item_factors[cold], straight))
    assert error < 0.1 * of_line


def test_the_map_is_the_ridge_regression() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(30, 3))
    x, y = x - x.mean(axis=0), rng.normal(size=(30, 2))
    weights = ridge(x.astype(np.float32), y.astype(np.float32))
    penalty = cold_items.RIDGE * (x**2).sum()
    augmented = np.vstack([x, np.sqrt(penalty) * np.eye(3)])
    expected, *_ = np.linalg.lstsq(augmented, np.vstack([y - y.mean(axis=0), np.zeros((3, 2))]), rcond=None)
    np.testing.assert_allclose(weights, np.vstack([expected, y.mean(axis=0)]), atol=1e-5)


@pytest.mark.parametrize("texts", [0, 1])
def test_a_catalogue_with_hardly_any_text_stays_as_it_is(texts: int) -> None:
    model, text, histories, relevant = catalogue()
    text[texts:] = 0
    assert correct(model, text, histories, relevant, max_ndcg_loss=0.1, seed=1, device=CPU) == (model, [])


def test_the_largest_cold_recall_within_the_loss_is_chosen() -> None:
    low, mid, high = (
        Outcome(0.1, 0.5, 0.2, 0.0, 0.0),
        Outcome(0.2, 0.5, 0.3, 0.01, 0.001),
        Outcome(0.3, 0.4, 0.9, 0.2, 0),
    )
    assert choose([low, mid, high], max_ndcg_loss=0.02) is mid
    assert choose([low, mid, high], max_ndcg_loss=0.0105) is low  # the standard error counts
    assert choose([mid, high], max_ndcg_loss=0.001) is None


def test_lists_of_nobody_who_wants_a_cold_item_have_no_cold_recall() -> None:
    zeros, one, none = np.zeros(1), np.ones(1, np.int64), np.zeros(1, np.int64)
    lists = Lists(np.zeros((1, 2 * K)), np.zeros((1, 2 * K), np.bool_), (zeros, zeros, zeros), one, none)
    assert lists.cold_recall(0.5) == 0
