"""The demo shop: the same for the same seed, and worth recommending from."""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from pipelines.ingest.sources.demo_catalogue import BAD_ROWS, DAYS, START, DemoFiles, generate
from pipelines.ingest.sources.demo_words import TOPICS

SIZES = {"users": 300, "items": 500, "events": 8000, "new_items": 40, "dirty_rows": 0}


@pytest.fixture(scope="module")
def shop() -> DemoFiles:
    return generate(**SIZES, seed=7)


def events(shop: DemoFiles) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(shop.interactions)))


def books(shop: DemoFiles) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(shop.items)))


def test_the_same_seed_gives_the_same_shop(shop: DemoFiles) -> None:
    assert generate(**SIZES, seed=7) == shop
    assert generate(**SIZES, seed=8) != shop


def test_the_counts_are_those_asked_for(shop: DemoFiles) -> None:
    touched = {row["item_id"] for row in events(shop)}
    assert len(events(shop)) == SIZES["events"]
    assert len({row["item_id"] for row in books(shop)}) == len(books(shop)) == SIZES["items"]
    assert touched <= {row["item_id"] for row in books(shop)}
    assert SIZES["items"] - len(touched) >= SIZES["new_items"]
    assert len({row["user_id"] for row in events(shop)}) <= SIZES["users"]


def test_events_come_in_the_order_of_two_years(shop: DemoFiles) -> None:
    times = [int(row["timestamp"]) for row in events(shop)]
    assert all(a <= b for a, b in pairwise(times))
    assert START <= times[0] < times[-1] < START + DAYS * 86400
    assert times[-1] - times[0] > 0.9 * DAYS * 86400


def test_late_books_are_cold_for_a_split_by_time(shop: DemoFiles) -> None:
    rows = events(shop)
    cut = len(rows) * 8 // 10
    early, late = ({row["item_id"] for row in part} for part in (rows[:cut], rows[cut:]))
    assert len(late - early) > 20


def test_few_books_hold_much_of_the_popularity(shop: DemoFiles) -> None:
    counts = sorted(Counter(row["item_id"] for row in events(shop)).values(), reverse=True)
    assert sum(counts[: SIZES["items"] // 10]) > 0.25 * SIZES["events"]
    assert counts[0] > 8 * np.median(counts)


def test_texts_are_made_of_the_words_of_their_topic(shop: DemoFiles) -> None:
    for book in books(shop):
        strands = TOPICS[book["topic"]]
        assert any(all(term in book["description"] for term in strand) for strand in strands)


def test_readers_return_to_their_topics(shop: DemoFiles) -> None:
    """The best-loved two topics of a reader in the first half of their history hold most of the second half."""
    topic = {book["item_id"]: book["topic"] for book in books(shop)}
    histories: dict[str, list[str]] = {}
    for row in events(shop):
        histories.setdefault(row["user_id"], []).append(topic[row["item_id"]])
    shares = []
    for history in histories.values():
        half = len(history) // 2
        if half >= 5:
            favourites = {name for name, _ in Counter(history[:half]).most_common(2)}
            shares.append(np.mean([name in favourites for name in history[half:]]))
    assert np.mean(shares) > 0.5


def test_item_neighbours_recommend_better_than_popularity(shop: DemoFiles) -> None:
    """Recall@10 of cosine neighbours against popularity, on the last fifth of the events."""
    rows = events(shop)
    cut = len(rows) * 8 // 10
    users = {name: i for i, name in enumerate(sorted({row["user_id"] for row in rows}))}
    history = np.zeros((len(users), SIZES["items"]))
    future = np.zeros_like(history)
    for n, row in enumerate(rows):
        (history if n < cut else future)[users[row["user_id"]], int(row["item_id"][1:])] = 1
    future[history > 0] = 0
    norms = np.sqrt(history.sum(axis=0)) + 1e-9
    cosine = history.T @ history / np.outer(norms, norms)
    np.fill_diagonal(cosine, 0)
    judged = (future.sum(axis=1) > 0) & (history.sum(axis=1) > 0)

    def recall(scores: np.ndarray) -> float:
        scores = np.where(history > 0, -np.inf, scores)[judged]
        best = np.argsort(-scores, axis=1)[:, :10]
        return float(np.mean(np.take_along_axis(future[judged], best, axis=1).sum(axis=1) / future[judged].sum(axis=1)))

    assert recall(history @ cosine) > 2 * recall(np.tile(history.sum(axis=0), (len(users), 1)))


def test_dirty_rows_lie_between_the_good_ones() -> None:
    shop = generate(**SIZES | {"dirty_rows": 30}, seed=7)
    clean = generate(**SIZES, seed=7).interactions.splitlines()
    lines = shop.interactions.splitlines()
    assert [line for line in lines if line not in BAD_ROWS] == clean
    assert set(lines) - set(clean) == set(BAD_ROWS)
    assert len(lines) == len(clean) + 30


@pytest.mark.parametrize("changes", [{"new_items": 500}, {"events": 20_000}])
def test_counts_that_cannot_be_met_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="lower it"):
        generate(**SIZES | changes, seed=7)
