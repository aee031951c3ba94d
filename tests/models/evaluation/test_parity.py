"""PopRSP and PopREO against their definition, user by user and set by set."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from models.evaluation import measure, parity
from models.evaluation.metric import Catalogue

N_ITEMS = 6
sets = st.sets(st.integers(0, N_ITEMS - 1))
users = st.lists(st.tuples(st.permutations(range(N_ITEMS)), sets, sets), min_size=1, max_size=4)


def evaluated(
    lists: list[list[int]], wanted: list[set[int]], seen: list[set[int]], tail: set[int], k: int
) -> measure.Evaluation:
    is_tail = np.isin(np.arange(N_ITEMS), sorted(tail))
    catalogue = Catalogue(np.ones(N_ITEMS, np.int64), is_tail, np.zeros(N_ITEMS, bool), n_users=9)
    pairs = [(row, item) for row, items in enumerate(wanted) for item in sorted(items)]
    relevant = measure.Relevant(*np.array(pairs, np.int64).reshape(-1, 2).T)
    touched = csr_array(np.array([[float(item in items) for item in range(N_ITEMS)] for items in seen]))
    padded = np.array([(row + [-1] * N_ITEMS)[:N_ITEMS] for row in lists], np.int32)
    known = measure.Users(touched, touched)
    return measure.evaluate(padded, np.full_like(padded, -1), relevant, catalogue, ks=[k], users=known)


def twin(chances: list[tuple[int, int]]) -> float:
    """Standard deviation / mean of the chances of two groups, by hand."""
    if any(below == 0 for _, below in chances) or all(above == 0 for above, _ in chances):
        return math.nan
    a, b = (above / below for above, below in chances)
    return abs(a - b) / (a + b)


@given(users=users, tail=sets, k=st.integers(1, 5))
def test_both_equal_their_slow_twins(users: list[tuple[list[int], set[int], set[int]]], tail: set[int], k: int) -> None:
    rankings, wanted, seen = (list(each) for each in zip(*users, strict=True))
    lists = [[item for item in row if item not in known] for row, known in zip(rankings, seen, strict=True)]
    wanted = [items - known for items, known in zip(wanted, seen, strict=True)]
    result = evaluated(lists, wanted, seen, tail, k)
    groups = [set(range(N_ITEMS)) - tail, tail]
    rows = list(zip([set(row[:k]) for row in lists], wanted, seen, strict=True))
    statistical = [(sum(len(s & g) for s, _, _ in rows), sum(len(g - k) for _, _, k in rows)) for g in groups]
    opportunity = [(sum(len(s & w & g) for s, w, _ in rows), sum(len(w & g) for _, w, _ in rows)) for g in groups]
    catalogue = Catalogue(
        np.ones(N_ITEMS, np.int64), np.isin(np.arange(N_ITEMS), sorted(tail)), np.zeros(N_ITEMS, bool), 9
    )
    values = measure.summary(result, catalogue, ks=[k])
    assert values.get(f"poprsp@{k}", math.nan) == pytest.approx(twin(statistical), nan_ok=True)
    assert values.get(f"popreo@{k}", math.nan) == pytest.approx(twin(opportunity), nan_ok=True)


def test_lists_of_everything_unseen_give_equal_chances_and_lists_of_one_group_the_most_unequal() -> None:
    wanted, seen, tail = [{0, 4}, {1, 5}], [{2}, {3, 4}], {3, 4, 5}
    all_of_it = evaluated([[0, 1, 3, 4, 5], [0, 1, 2, 5]], wanted, seen, tail, 6)
    only_head = evaluated([[0, 1], [0, 1, 2]], wanted, seen, tail, 6)
    for name in parity.RATIOS:
        assert parity.figure(parity.columns(all_of_it.counts, name, 6).sum(axis=0)) == 0.0
        assert parity.figure(parity.columns(only_head.counts, name, 6).sum(axis=0)) == 1.0


def test_counts_add_up_over_the_users_of_a_sample() -> None:
    """So that leaving a user out of the sums is leaving the user out of the figure."""
    rng = np.random.default_rng(0)
    lists = [rng.permutation(N_ITEMS)[:3].tolist() for _ in range(8)]
    wanted = [set(rng.permutation(N_ITEMS)[:2].tolist()) for _ in range(8)]
    seen: list[set[int]] = [set() for _ in range(8)]
    whole = evaluated(lists, wanted, seen, {3, 4, 5}, 3)
    weights = np.array([[2.0, 0, 1, 3, 0, 0, 1, 1]])
    drawn = np.repeat(np.arange(8), weights[0].astype(int))
    again = evaluated([lists[u] for u in drawn], [wanted[u] for u in drawn], [seen[u] for u in drawn], {3, 4, 5}, 3)
    for name in parity.RATIOS:
        expected = parity.figure(parity.columns(again.counts, name, 3).sum(axis=0))
        found = parity.figure(weights @ parity.columns(whole.counts, name, 3))
        assert found == pytest.approx([float(expected)])
