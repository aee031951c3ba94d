"""Accuracy metrics beside those of a public toolkit, to 1e-6 where the definitions agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.evaluation import accuracy
from models.evaluation.metric import Bools, Counts, Floats, Lists

BY_RELEVANCE: dict[str, Any] = {
    name: getattr(accuracy, "average_precision" if name == "map" else name)
    for name, metric in accuracy.METRICS.items()
    if metric.kind == "accuracy"
}

# its functions are compiled when they are first called: half a minute, kept beside them for the next time
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unsafe cast")]

N_USERS, N_ITEMS, K = 300, 80, 20


def judged() -> tuple[Lists, list[list[int]]]:
    """Random lists and what is relevant to each user, from a single item up to twice as many as a list holds."""
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(N_ITEMS)[:K] for _ in range(N_USERS)]).astype(np.int32)
    relevant = [rng.permutation(N_ITEMS)[: rng.integers(1, 2 * K)].tolist() for _ in range(N_USERS)]
    return lists, relevant


def ours(name: str, lists: Lists, relevant: list[list[int]], k: int) -> Floats:
    hits, n_relevant = counted(lists, relevant)
    values: Floats = BY_RELEVANCE[name](hits, n_relevant, k)
    return values


def counted(lists: Lists, relevant: list[list[int]]) -> tuple[Bools, Counts]:
    rows = np.repeat(np.arange(len(relevant)), [len(items) for items in relevant])
    return accuracy.hits(lists, rows, np.concatenate(relevant).astype(np.int64), n_items=N_ITEMS)


def theirs(name: str, lists: Lists, relevant: list[list[int]], k: int) -> Floats:
    # imported here: it takes two seconds, which other tests need not wait for
    ranx = pytest.importorskip("ranx", reason="ranx is in the optional extra «bench»: pip install 'longtail[bench]'")
    wanted = ranx.Qrels({f"{u:03}": {str(item): 1 for item in items} for u, items in enumerate(relevant)})
    run = ranx.Run({f"{u:03}": {str(item): float(K - r) for r, item in enumerate(row)} for u, row in enumerate(lists)})
    found: Any = ranx.evaluate(wanted, run, f"{name}@{k}", return_mean=False)
    return np.asarray(found, np.float64)


@pytest.mark.parametrize("k", [1, 10, K])
@pytest.mark.parametrize("name", [name for name in BY_RELEVANCE if name != "map"])
def test_a_metric_equals_that_of_ranx(name: str, k: int) -> None:
    lists, relevant = judged()
    np.testing.assert_allclose(ours(name, lists, relevant, k), theirs(name, lists, relevant, k), atol=1e-6, rtol=0)


@pytest.mark.parametrize("k", [1, 10, K])
def test_average_precision_is_that_of_ranx_over_no_more_items_than_a_list_can_hold(k: int) -> None:
    lists, relevant = judged()
    n_relevant = np.array([len(items) for items in relevant])
    expected = theirs("map", lists, relevant, k) * n_relevant / np.minimum(n_relevant, k)
    np.testing.assert_allclose(ours("map", lists, relevant, k), expected, atol=1e-6, rtol=0)
    assert (n_relevant > K).any()
    assert (n_relevant < K).any()
