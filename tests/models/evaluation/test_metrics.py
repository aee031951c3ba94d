"""Accuracy metrics: cases worked by hand, properties, and slow twins."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation import accuracy
from models.evaluation.metrics import REGISTRY, look_up

BY_RELEVANCE: dict[str, Any] = {
    name: getattr(accuracy, "average_precision" if name == "map" else name)
    for name, metric in accuracy.METRICS.items()
    if metric.kind == "accuracy"
}

LOG3 = math.log2(3)


def of(name: str, hits: list[int], n_relevant: int, k: int) -> float:
    return float(BY_RELEVANCE[name](np.array([hits], bool), np.array([n_relevant]), k)[0])


@pytest.mark.parametrize(
    ("name", "hits", "n_relevant", "k", "expected"),
    [
        ("ndcg", [1, 1, 0], 2, 3, 1.0),  # all relevant items on top
        ("ndcg", [0, 1, 0], 1, 3, 1 / LOG3),  # the only one at rank 2
        ("ndcg", [0, 1], 9, 2, (1 / LOG3) / (1 + 1 / LOG3)),  # the ideal list holds no more than k
        ("recall", [1, 1, 0], 2, 3, 1.0),
        ("recall", [1, 1, 1], 6, 3, 0.5),
        ("precision", [1, 1, 0], 2, 3, 2 / 3),
        ("precision", [0, 0, 1], 1, 2, 0.0),  # beyond k
        ("f1", [1, 1, 0], 2, 3, 2 * (2 / 3) / (2 / 3 + 1)),
        ("f1", [0, 0, 1], 3, 2, 0.0),  # beyond k
        ("hit_rate", [0, 0, 1], 4, 3, 1.0),
        ("hit_rate", [0, 0, 1], 4, 2, 0.0),
        ("mrr", [0, 0, 1], 1, 3, 1 / 3),
        ("mrr", [0, 0, 0], 1, 3, 0.0),
        ("map", [1, 0, 1], 2, 3, (1 + 2 / 3) / 2),
        ("map", [1, 1, 1], 7, 3, 1.0),
    ],
)
def test_hand_worked_case(name: str, hits: list[int], n_relevant: int, k: int, expected: float) -> None:
    assert of(name, hits, n_relevant, k) == pytest.approx(expected)


@pytest.mark.parametrize("name", BY_RELEVANCE)
def test_a_user_without_relevant_items_has_no_value(name: str) -> None:
    assert math.isnan(of(name, [0, 0], 0, 2))


def ndcg_twin(hits: list[bool], n: int, k: int) -> float:
    gain = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(hits[:k], 1) if hit)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, n) + 1))


def map_twin(hits: list[bool], n: int, k: int) -> float:
    return sum(sum(hits[:rank]) / rank for rank in range(1, k + 1) if hits[rank - 1 : rank] == [True]) / min(k, n)


def mrr_twin(hits: list[bool], n: int, k: int) -> float:
    return next((1 / rank for rank, hit in enumerate(hits[:k], 1) if hit), 0.0)


TWINS: dict[str, Callable[[list[bool], int, int], float]] = {
    "ndcg": ndcg_twin,
    "recall": lambda hits, n, k: len([hit for hit in hits[:k] if hit]) / n,
    "precision": lambda hits, n, k: len([hit for hit in hits[:k] if hit]) / k,
    "f1": lambda hits, n, k: 2 * sum(hits[:k]) / (k + n),  # P = h / k, R = h / n
    "hit_rate": lambda hits, n, k: 1.0 if True in hits[:k] else 0.0,
    "mrr": mrr_twin,
    "map": map_twin,
}
lists = st.lists(st.booleans(), min_size=6, max_size=6)


@pytest.mark.parametrize("name", BY_RELEVANCE)
@given(hits=lists, missed=st.integers(0, 9), k=st.integers(1, 6))
def test_metric_equals_its_slow_twin(name: str, hits: list[bool], missed: int, k: int) -> None:
    n = max(sum(hits) + missed, 1)
    assert of(name, [int(hit) for hit in hits], n, k) == pytest.approx(TWINS[name](hits, n, k))


@pytest.mark.parametrize("name", BY_RELEVANCE)
@given(hits=lists, missed=st.integers(0, 9), rank=st.integers(1, 5), k=st.integers(1, 6))
def test_moving_a_hit_one_rank_up_never_hurts_and_values_stay_in_0_1(
    name: str, hits: list[bool], missed: int, rank: int, k: int
) -> None:
    n = max(sum(hits) + missed, 1)
    better = hits.copy()
    if hits[rank] and not hits[rank - 1]:
        better[rank - 1], better[rank] = True, False
    before, after = (of(name, [int(hit) for hit in row], n, k) for row in (hits, better))
    assert 0 <= before <= after + 1e-12 <= 1 + 2e-12


def test_hits_are_found_by_user_and_item_and_padding_hits_nothing() -> None:
    lists = np.array([[4, 2, -1], [2, 0, -1], [1, 0, 3]], np.int32)
    rows, items = np.array([0, 0, 1]), np.array([2, 3, 0])
    found, n_relevant = accuracy.hits(lists, rows, items, n_items=5)
    assert found.tolist() == [[False, True, False], [False, True, False], [False, False, False]]
    assert n_relevant.tolist() == [2, 1, 0]


@pytest.mark.parametrize("k", ["", "@", "@0", "@ten", "@-1", "@010", "@١٠", "@１０", "@²", "@10\n", "@" + 5000 * "9"])
def test_what_follows_the_name_of_a_metric_is_a_plain_number(k: str) -> None:
    with pytest.raises(ValueError, match=r"unknown metric 'tail_coverage.*; write <metric>@<k> with one of ndcg"):
        look_up(f"tail_coverage{k}")


@pytest.mark.parametrize("name", ["ndgc@10", "ndcg", "ndcg@ten"])
def test_an_unknown_metric_is_an_error_that_lists_what_exists(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name!r}.*ndcg, recall.*tail_coverage"):
        look_up(name)


def test_registry_knows_kind_and_direction() -> None:
    assert look_up("gini@20") == ("gini", REGISTRY["gini"], 20)
    lower_is_better = {name for name, metric in REGISTRY.items() if not metric.higher_is_better}
    assert lower_is_better == {"arp", "popularity_lift", "gini", "poprsp", "popreo"}
    assert {name for name, metric in REGISTRY.items() if metric.kind == "accuracy"} == set(BY_RELEVANCE)
