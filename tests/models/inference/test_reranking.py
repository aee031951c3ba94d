"""Re-ranking methods: the order of items in a list."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.inference.candidates import Candidates, of_scores
from models.inference.reranking import METHODS, Rerank, none, preferring, rerank

N_ITEMS = 24
IS_TAIL = np.arange(N_ITEMS) >= 6


def case(seed: int, *, method: str, strength: float, n_users: int = 3) -> tuple[Rerank, Candidates, np.ndarray]:
    """Users with few distinct scores, some items excluded, and shares of tail in their histories."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 9, size=(n_users, N_ITEMS)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    each = [of_scores(row, IS_TAIL, k=N_ITEMS) for row in scores]
    found = Candidates(np.vstack([c.items for c in each]), np.vstack([c.relevance for c in each]))
    against = (rng.integers(0, 4, size=N_ITEMS) / 4).astype(np.float32)
    return Rerank(method, strength, IS_TAIL, against), found, rng.random(n_users).astype(np.float32)


def twin(how: Rerank, relevance: dict[int, float], tail_share: float, k: int) -> list[int]:
    """One list, place by place, from the definitions."""
    shown: list[int] = []
    left = list(relevance)  # best first

    def bonus(item: int) -> float:
        place, tail = len(shown), bool(IS_TAIL[item])
        if how.method == "popularity":
            return -how.strength * tail_share * float(how.against[item])
        if how.method == "slots":
            return how.strength / (1 + float(how.against[item])) if tail and place in (3, 4, 8, 9, 13, 14) else 0.0
        if how.method == "xquad":
            alike = sum(bool(IS_TAIL[other]) == tail for other in shown) / place if place else 0.0
            return how.strength * (tail_share if tail else 1 - tail_share) * (1 - alike)
        return 0.0

    for _ in range(k):
        if left:
            worth = [relevance[item] + bonus(item) for item in left]
            apart = np.diff(np.sort(worth))
            assume(not ((apart > 1e-12) & (apart < 1e-5)).any())  # which float32 may take for equal, or for the other
            shown.append(left.pop(worth.index(max(worth))))
    return shown + [-1] * (k - len(shown))


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 10_000), strength=st.sampled_from([0.0, 0.37, 1.1, 30.0]))
def test_lists_are_filled_place_by_place(method: str, seed: int, strength: float) -> None:
    how, found, share = case(seed, method=method, strength=strength)
    for user, shown in enumerate(rerank(how, found, share, k=12).tolist()):
        pairs = zip(found.items[user].tolist(), found.relevance[user].tolist(), strict=True)
        relevance = {item: value for item, value in pairs if item >= 0}
        expected = twin(how, relevance, float(share[user]), 12)
        assert shown == expected


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 10_000), strength=st.floats(0, 5), k=st.integers(1, 11))
def test_a_list_begins_every_longer_one_holds_no_item_twice_and_is_the_same_alone(
    method: str, seed: int, strength: float, k: int
) -> None:
    how, found, share = case(seed, method=method, strength=strength)
    long = rerank(how, found, share, k=20)
    assert np.array_equal(rerank(how, found, share, k=k), long[:, :k])
    for user, shown in enumerate(long):
        present = shown[shown >= 0]
        assert len(set(present.tolist())) == len(present) == min(20, (found.items[user] >= 0).sum())
        alone = Candidates(found.items[user : user + 1], found.relevance[user : user + 1])
        assert np.array_equal(rerank(how, alone, share[user : user + 1], k=20)[0], shown)


@pytest.mark.parametrize("method", METHODS)
def test_without_strength_every_method_keeps_the_order_of_the_scores(method: str) -> None:
    how, found, share = case(1, method=method, strength=0.0)
    plain = rerank(none(IS_TAIL), found, share, k=15)
    assert np.array_equal(rerank(how, found, share, k=15), plain)
    assert plain[0].tolist()[:5] == [i for i in found.items[0].tolist() if i >= 0][:5]


def everything(n_users: int = 1) -> Candidates:
    """Scores that fall with the item index: the head is best."""
    alone = of_scores(-np.arange(N_ITEMS, dtype=np.float32), IS_TAIL, k=N_ITEMS)
    return Candidates(np.repeat(alone.items, n_users, axis=0), np.repeat(alone.relevance, n_users, axis=0))


def test_strong_slots_are_the_tails_and_go_to_what_was_shown_least() -> None:
    exposure = np.full(N_ITEMS, 9, np.float32)
    exposure[[13, 20]] = 0
    how = Rerank("slots", 1e3, np.arange(N_ITEMS) >= 12, exposure)
    shown = rerank(how, everything(), np.zeros(1, np.float32), k=15)[0].tolist()
    assert shown == [0, 1, 2, 13, 20, 3, 4, 5, 12, 14, 6, 7, 8, 15, 16]


def test_a_slot_without_tail_left_goes_to_the_best_of_the_head() -> None:
    how = Rerank("slots", 1e3, np.arange(N_ITEMS) == 7, np.zeros(N_ITEMS, np.float32))
    shown = rerank(how, everything(), np.zeros(1, np.float32), k=10)[0].tolist()
    assert shown == [0, 1, 2, 7, 3, 4, 5, 6, 8, 9]


def test_popularity_counts_for_nobody_whose_history_is_head_and_fully_for_the_others() -> None:
    against = np.where(IS_TAIL, 0, 1).astype(np.float32)
    how = Rerank("popularity", 5.0, IS_TAIL, against)
    blockbuster, niche = rerank(how, everything(2), np.array([0, 1], np.float32), k=3).tolist()
    assert blockbuster == [0, 1, 2]
    assert niche == [6, 7, 8]


def test_xquad_gives_head_and_tail_their_shares_of_the_history() -> None:
    how = Rerank("xquad", 1e4, IS_TAIL, np.zeros(N_ITEMS, np.float32))
    shares = np.array([0, 0.25, 0.5, 0.75], np.float32)
    lists = rerank(how, everything(4), shares, k=4)
    assert IS_TAIL[lists].sum(axis=1).tolist() == [0, 1, 2, 3]


def test_the_tail_share_of_a_history_counts_weights_and_is_0_for_nobody() -> None:
    how = none(IS_TAIL)
    assert how.tail_share(np.array([0, 7, 8, 1])).tolist() == [0.5]
    assert how.tail_share(np.array([0, 7]), np.array([1.0, 3.0])).tolist() == [0.75]
    assert how.tail_share(np.array([], np.int64)).tolist() == [0]


def test_over_another_catalogue_new_items_are_tail_with_nothing_against_them() -> None:
    how = replace(none(IS_TAIL), against=np.arange(N_ITEMS, dtype=np.float32)).over(np.array([7, -1, 2]))
    assert how.is_tail.tolist() == [True, True, False]
    assert how.against.tolist() == [7, 0, 2]


@pytest.mark.parametrize(("method", "strength"), [("mmr", 1.0), ("xquad", -0.1), ("slots", float("nan"))])
def test_what_is_no_method_or_no_strength_is_refused(method: str, strength: float) -> None:
    with pytest.raises(ValueError, match=method):
        Rerank(method, strength, IS_TAIL, np.zeros(N_ITEMS, np.float32))


@given(
    method=st.sampled_from(METHODS), strength=st.floats(0, 5), share=st.floats(0, 1, width=32),
    n=st.integers(1, 40), k=st.integers(1, 12), seed=st.integers(0, 999),
)  # fmt: skip
@pytest.mark.slow
def test_one_list_alone_is_the_list_among_many(
    method: str, strength: float, share: float, n: int, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    how = Rerank(method, strength, rng.random(n) < 0.5, rng.integers(0, 4, n).astype(np.float32))
    scores = rng.integers(0, 6, n).astype(np.float32)  # many are equal
    scores[rng.random(n) < 0.2] = -np.inf
    one = of_scores(scores, how.is_tail, k=k)
    twice = Candidates(np.repeat(one.items, 2, axis=0), np.repeat(one.relevance, 2, axis=0))
    shares = np.full(2, share, np.float32)
    np.testing.assert_array_equal(rerank(how, one, shares[:1], k=k)[0], rerank(how, twice, shares, k=k)[1])


@given(n=st.integers(2, 60), k=st.integers(1, 12), seed=st.integers(0, 999))
def test_a_stronger_preference_for_the_tail_never_makes_a_list_more_popular(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    popularity = rng.random(n, np.float32)
    how = preferring(popularity, popularity < 0.5)
    found = of_scores(rng.normal(size=n).astype(np.float32), how.is_tail, k=k)
    lists = [rerank(how, found, np.array([tail], np.float32), k=k)[0] for tail in (0, 0.25, 0.5, 0.75, 1)]
    means = [popularity[listed[listed >= 0]].mean() for listed in lists]
    assert all(after <= before + 1e-5 for before, after in pairwise(means))
    assert lists[0].tolist() == found.items[0][: len(lists[0])].tolist() or n < k
