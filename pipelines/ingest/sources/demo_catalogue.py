"""Synthetic bookshop: CSV text of its books and of its readers' choices, equal for equal seeds.

Its patterns: popularity follows a power law; a book's text is made of the words of its topic and strand, and readers
choose by topic and strand, so text and history both carry the preference; readers of niche topics choose tail items;
books appear over time, so that a split by time has cold ones; some rows are broken.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from pipelines.ingest.sources.demo_words import FORMS, MOODS, PERIODS, PLACES, TOPICS

START = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp())
DAYS = 730
N_STRANDS = 3  # of each topic
READERS = ((-1.2, 1.1), (-0.6, 0.7), (0.4, 0.3))  # blockbuster, diverse, niche: pull of popular topics, of appeal
BAD_ROWS = (
    "00001,b00001",
    "00002,b00002,4,1690000000,mobile",
    "00003,b00003,four,1690000000",
    "00004,b00004,inf,1690000000",
    ",b00005,4,1690000000",
    "00006,,4,1690000000",
    "00007,b00007,4,yesterday",
    "00008,b00008,4,99999999999",
    "00009,no-such-book,4,1690000000",
    "00010,b00010,-1,1690000000",
    '00011,"b00011,4,1690000000',
    "00012,b00012,,1690000000",
)
Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DemoFiles:
    """CSV texts: user_id, item_id, value, timestamp (seconds since 1970) and item_id, title, description, topic."""

    interactions: str
    items: str


@dataclass(frozen=True)
class Books:
    topic: Index  # (n,)
    strand: Index  # (n,) within the topic
    appeal: Array  # (n,) log of a book's relative popularity within its strand
    released: Array  # (n,) day; DAYS or later: no interactions yet


@dataclass(frozen=True)
class Events:
    user: Index
    item: Index
    value: Index
    day: Array


def generate(*, users: int, items: int, events: int, new_items: int, dirty_rows: int, seed: int) -> DemoFiles:
    """Return the shop's files: `items` books, `new_items` of them without events; `events` good rows, `dirty_rows` bad.

    Raises ValueError if the counts contradict each other.
    """
    if new_items >= items:
        raise ValueError(f"new_items is {new_items}, expected fewer than items, which is {items}; lower it")
    if events > users * (items - new_items) // 10:
        raise ValueError(
            f"events is {events}, expected at most a tenth of users x items; lower it, or add users or items"
        )
    rng = np.random.default_rng(seed)
    books = publish(items, new_items, rng)
    chosen = choose(users, events, books, rng)
    rows = [f"{u:05d},b{i:05d},{v},{START + int(d * 86400)}" for u, i, v, d in zip(*columns(chosen), strict=True)]
    return DemoFiles(interactions=spoil(rows, dirty_rows, rng), items=catalogue(books, rng))


def publish(items: int, new_items: int, rng: np.random.Generator) -> Books:
    """Draw books, topics by a power law of their rank; half exist from the start, the new ones after all events."""
    weight = np.arange(1, len(TOPICS) + 1) ** -0.6
    released = np.where(rng.random(items) < 0.5, 0.0, rng.uniform(0, DAYS, items))
    released[rng.choice(items, new_items, replace=False)] = DAYS
    return Books(
        topic=rng.choice(len(TOPICS), items, p=weight / weight.sum()),
        strand=rng.integers(N_STRANDS, size=items),
        appeal=rng.exponential(2.0, items),
        released=released,
    )


def choose(users: int, events: int, books: Books, rng: np.random.Generator) -> Events:
    """Draw for each event a reader, a day in one of their reading spells, one of their topics, and a book."""
    kind = rng.integers(len(READERS), size=users)
    tastes = topic_tastes(np.array([topic for topic, _ in READERS])[kind], rng)  # (users, topics)
    strand_taste = rng.normal(0, 1.6, (users, len(TOPICS), N_STRANDS))
    mainstream = np.array([appeal for _, appeal in READERS])[kind] * rng.uniform(0.7, 1.3, users)
    seen: set[tuple[int, int]] = set()
    kept: list[tuple[int, int, int, float]] = []
    activity = rng.lognormal(0, 0.8, users) + 0.1
    while missing := max(events - len(kept), 0):  # repeated choices are drawn again, except for a few
        user = rng.choice(users, missing + missing // 4 + 10, p=activity / activity.sum())
        day = reading_days(user, users, rng)
        topic = draw(tastes[user], rng)
        item, match = pick(books, user, topic, day, strand_taste, mainstream, rng)
        value = np.clip(np.rint(3.4 + 0.6 * match + rng.normal(0, 0.7, len(user))), 1, 5).astype(np.int64)
        again = rng.random(len(user)) < 0.03
        for u, i, v, d, repeat in zip(user.tolist(), item.tolist(), value.tolist(), day.tolist(), again, strict=True):
            if i >= 0 and ((u, i) not in seen or repeat):
                seen.add((u, i))
                kept.append((u, i, v, d))
    user_, item_, value_, day_ = zip(*kept[:events], strict=True)
    return Events(np.array(user_), np.array(item_), np.array(value_), np.array(day_))


def topic_tastes(exponent: Array, rng: np.random.Generator) -> Array:
    """Draw tastes (users, topics), rows sum to 1: two to four topics by rank ** exponent, and a little of all."""
    users, topics = len(exponent), len(TOPICS)
    rank = np.arange(1, topics + 1)
    gumbel = rng.gumbel(size=(users, topics))  # the largest sums are a draw without replacement
    order = np.argsort(-(exponent[:, None] * np.log(rank) + gumbel), axis=1)
    share = np.array([0.45, 0.3, 0.17, 0.08]) * (np.arange(4) < rng.integers(2, 5, users)[:, None])
    tastes = np.full((users, topics), 0.06 / topics)
    np.put_along_axis(tastes, order[:, :4], 0.94 * share / share.sum(axis=1, keepdims=True), axis=1)
    tastes /= tastes.sum(axis=1, keepdims=True)
    return tastes


def reading_days(user: Index, users: int, rng: np.random.Generator) -> Array:
    """Draw a day for each event: readers read in six spells of a few weeks, equal in every draw."""
    spells = np.random.default_rng(users).uniform(0, DAYS, (users, 6))
    day = spells[user, rng.integers(6, size=len(user))] + rng.normal(0, 12, len(user))
    return np.abs(DAYS - 1e-3 - np.abs(DAYS - 1e-3 - np.abs(day)))  # reflected at both ends


def draw(probability: Array, rng: np.random.Generator) -> Index:
    """Draw one column index per row of probabilities."""
    drawn = (probability.cumsum(axis=1) < rng.random((len(probability), 1))).sum(axis=1)
    last: Index = np.minimum(drawn, probability.shape[1] - 1)  # rounding can leave the sum just below 1
    return last


def pick(
    books: Books,
    user: Index,
    topic: Index,
    day: Array,
    strand_taste: Array,
    mainstream: Array,
    rng: np.random.Generator,
) -> tuple[Index, Array]:
    """Draw for each event a released book of the topic (-1: none), weighted by the reader's taste for its strand."""
    item, match = np.full(len(user), -1), np.zeros(len(user))
    for t in range(len(TOPICS)):
        rows, shelf = np.flatnonzero(topic == t), np.flatnonzero(books.topic == t)
        if len(rows) == 0 or len(shelf) == 0:
            continue
        age = day[rows, None] - books.released[shelf]  # (events, books)
        strand = strand_taste[user[rows], t][:, books.strand[shelf]]
        score = (
            mainstream[user[rows], None] * books.appeal[shelf] + strand + np.log1p(2 * np.exp(-np.maximum(age, 0) / 45))
        )
        score = np.where(age >= 0, score + rng.gumbel(size=score.shape), -np.inf)
        best = score.argmax(axis=1)
        taken = np.arange(len(rows)), best
        item[rows] = np.where(np.isfinite(score[taken]), shelf[best], -1)
        match[rows] = strand[taken]
    return item, match


def columns(events: Events) -> tuple[list[int], list[int], list[int], list[float]]:
    order = np.argsort(events.day, kind="stable")
    user, item, value = (a[order].tolist() for a in (events.user, events.item, events.value))
    return user, item, value, events.day[order].tolist()


def catalogue(books: Books, rng: np.random.Generator) -> str:
    """Return the CSV of the books; a description names topic, strand terms, mood, form, place and period."""
    names = list(TOPICS)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["item_id", "title", "description", "topic"])
    for i, (t, s) in enumerate(zip(books.topic.tolist(), books.strand.tolist(), strict=True)):
        title, description = words(names[t], TOPICS[names[t]][s], rng)
        writer.writerow([f"b{i:05d}", title, description, names[t]])
    return out.getvalue()


def words(topic: str, terms: list[str], rng: np.random.Generator) -> tuple[str, str]:
    """Return title and description of one book."""
    a, b, c, d = (terms[i] for i in rng.permutation(len(terms)))
    mood, form, place, period = (str(rng.choice(options)) for options in (MOODS, FORMS, PLACES, PERIODS))
    titles = (
        f"The {a} of {place}",
        f"{a} and {b}",
        f"A {mood} {a}",
        f"The last {a}",
        f"{a}, {b}, {c}",
        f"Notes on the {a}",
    )
    openings = (
        f"A {mood} {form} about {topic}, set in {place} {period}.",
        f"{topic}, told as a {mood} {form}. The scene is {place}, {period}.",
        f"This {mood} {form} takes its reader to {place}, {period}, and into the world of {topic}.",
    )
    middles = (
        f"It begins with {a} and {b}",
        f"At its heart are {b} and {a}",
        f"What starts with {a} soon turns on {b}",
    )
    ends = (f"and ends with {c} and {d}.", f"; {c} and {d} follow.", f"before {d} and {c} change everything.")
    opening, middle, end = (str(rng.choice(options)) for options in (openings, middles, ends))
    title = str(rng.choice(titles))
    return title[0].upper() + title[1:], f"{opening[0].upper()}{opening[1:]} {middle} {end}".replace(" ;", ";")


def spoil(rows: list[str], dirty_rows: int, rng: np.random.Generator) -> str:
    """Return the interactions as CSV, with bad rows of every kind among the good ones."""
    places = np.sort(rng.integers(len(rows) + 1, size=dirty_rows))
    pieces, last = ["user_id,item_id,value,timestamp"], 0
    for n, place in enumerate(places.tolist()):
        pieces += [*rows[last:place], BAD_ROWS[n % len(BAD_ROWS)]]
        last = place
    return "\n".join([*pieces, *rows[last:]]) + "\n"
