"""Whether an older model has seen pairs of the holdout it shall be judged on, from how both splits were made.

Held out are the pairs of test, and those of the items that a split withholds from train.

Train and valid both count: a model was fitted to the one, and chosen on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True)
class Split:
    """How data were split, as `data/split/holdout.json` records it."""

    strategy: Literal["time", "hash"]
    cutoffs: tuple[str, str] | None  # first moments of valid and of test, ISO 8601, of a split by time
    seed: int  # of the hash of pairs and of that of items
    test: float  # share of the pairs
    cold_items: float  # share of the items, whose pairs are withheld from train
    user_space: str | None  # None: users by their ids; else by pseudonyms, and this tells their key from another one


def seen(then: Split, now: Split) -> str | None:
    """Why a model of the split `then` is no fair comparison on the holdout of `now`; None where it is one.

    By time it has seen the pairs that were there before its own test set began, which repeats do not move. By hash a
    pair keeps its place between 0 and 1 as long as the seed and the name of its user are the same, and test is what
    lies below its share. Withheld items are drawn by hash under both; a smaller share of them is part of a larger one.
    """
    if then.strategy != now.strategy:
        return f"it was trained on a split by {then.strategy}, and this holdout is drawn by {now.strategy}"
    return (by_time if now.strategy == "time" else by_hash)(then, now) or of_cold_items(then, now)


def by_time(then: Split, now: Split) -> str | None:
    if then.cutoffs and now.cutoffs:
        until, begins = then.cutoffs[1], now.cutoffs[1]
        if datetime.fromisoformat(begins) < datetime.fromisoformat(until):
            return f"it was trained and chosen on events up to {until}, and this holdout begins at {begins}"
    return None


def by_hash(then: Split, now: Split) -> str | None:
    if then.user_space != now.user_space:
        return f"its pairs were drawn by {users(then)}, and this holdout is drawn by {users(now)}"
    if then.seed != now.seed:
        return f"its pairs were drawn with seed {then.seed}, and this holdout is drawn with seed {now.seed}"
    if now.test > then.test:
        return f"its holdout was the first {then.test:g} of all pairs by hash, and this one is the first {now.test:g}"
    return None


def of_cold_items(then: Split, now: Split) -> str | None:
    """Why the model may have been trained on items that are withheld now."""
    if now.cold_items == 0:
        return None
    if then.cold_items == 0:
        return f"it was trained on all items, and this split withholds {now.cold_items:g} of them"
    if then.seed != now.seed:
        return f"items were withheld from it by seed {then.seed}, and this split withholds others, by seed {now.seed}"
    if now.cold_items > then.cold_items:
        return (
            f"only {then.cold_items:g} of the items were withheld from it, and this split withholds {now.cold_items:g}"
        )
    return None


def users(split: Split) -> str:
    """What users are called by, in words."""
    if split.user_space is None:
        return "the ids of users"
    return f"pseudonyms of users (key {split.user_space})"
