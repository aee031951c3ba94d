"""Prices of tail slots that are learned once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.inference.candidates import Candidates, of_scores
from models.inference.reranking import Rerank, rerank
from models.tuning.exposure_prices import learn, narrow

N_USERS, N_ITEMS = 120, 400
IS_TAIL = np.arange(N_ITEMS) >= 40
STRENGTH = 2.0
UNPRICED = Rerank("slots", STRENGTH, IS_TAIL, np.zeros(N_ITEMS, np.float32))


def candidates(seed: int = 0) -> Candidates:
    """Users of one taste: the head first, then everywhere the same tail items with some noise."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(N_USERS, N_ITEMS)) - np.arange(N_ITEMS) / 20
    each = [of_scores(row.astype(np.float32), IS_TAIL, k=10) for row in scores]
    return Candidates(np.vstack([c.items for c in each]), np.vstack([c.relevance for c in each]))


def learned(of: Candidates, strength: float = STRENGTH) -> Rerank:
    return learn(replace(UNPRICED, strength=strength), of)


def lists(how: Rerank, of: Candidates) -> np.ndarray:
    return rerank(how, of, np.zeros(N_USERS, np.float32), k=10)


def covered(shown: np.ndarray) -> int:
    return len(np.unique(shown[IS_TAIL[shown]]))


def one_by_one(of: Candidates) -> np.ndarray:
    """The batch form: each user in turn, prices by what the users before were shown."""
    exposure = np.zeros(N_ITEMS, np.float32)
    shown = []
    for items, relevance in zip(of.items, of.relevance, strict=True):
        how = Rerank("slots", STRENGTH, IS_TAIL, exposure)
        alone = rerank(how, Candidates(items[None], relevance[None]), np.zeros(1, np.float32), k=10)[0]
        exposure = exposure + np.bincount(alone, minlength=N_ITEMS).astype(np.float32)
        shown.append(alone)
    return np.stack(shown)


def welfare(shown: np.ndarray, of: Candidates) -> float:
    """Return the objective of `learn` for lists."""
    exposure = np.bincount(shown.ravel(), minlength=N_ITEMS)[IS_TAIL]
    at_slots = of.items[:, :, None] == shown[:, None, [3, 4, 8, 9]]
    relevance = (at_slots * np.where(of.items >= 0, of.relevance, 0)[:, :, None]).sum()
    return float(relevance + STRENGTH * np.log1p(exposure).sum())


def test_learned_prices_are_worth_more_than_serving_users_one_by_one() -> None:
    of = candidates()
    priced = lists(learned(of), of)
    assert welfare(priced, of) > welfare(one_by_one(of), of) > welfare(lists(UNPRICED, of), of)


def test_prices_spread_the_lists_of_other_users_of_the_same_taste() -> None:
    others = candidates(seed=1)
    priced, unpriced = lists(learned(candidates()), others), lists(UNPRICED, others)
    assert covered(priced) > 2 * covered(unpriced)
    assert welfare(priced, others) > welfare(unpriced, others)


@pytest.mark.parametrize("strength", [0.05, 0.4, 3.0])
def test_candidates_left_out_while_learning_are_in_no_list(strength: float) -> None:
    of = candidates()
    for exposure in (0.0, 0.7):
        how = replace(UNPRICED, strength=strength, against=np.full(N_ITEMS, exposure, np.float32))
        fewer = narrow(of, how)
        assert fewer.items.shape[1] < of.items.shape[1]
        assert np.array_equal(lists(how, fewer), lists(how, of))


def test_the_order_of_the_users_plays_no_part() -> None:
    of = candidates()
    turned = Candidates(of.items[::-1], of.relevance[::-1])
    assert np.array_equal(learned(of).against, learned(turned).against)


def test_the_learned_exposure_is_that_of_the_lists_and_the_heads_is_left_out() -> None:
    of = candidates()
    how = learned(of, strength=0.0)  # then lists do not depend on prices
    shown = lists(how, of)
    assert np.array_equal(how.against, np.bincount(shown.ravel(), minlength=N_ITEMS) * IS_TAIL)
    assert (learned(of).against[~IS_TAIL] == 0).all()
