"""Leakage check: has an older model seen pairs of the present holdout? Decided by the settings of both splits.

The holdout has the pairs of test, and the pairs of items that a split withholds from train.

Pairs of train and of valid both count as seen: the model was fitted to train and chosen on valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True)
class Split:
    """Settings of a split, as recorded in `data/split/holdout.json`."""

    strategy: Literal["time", "hash"]
    cutoffs: tuple[str, str] | None  # first moments of valid and of test, ISO 8601, of a split by time
    seed: int  # of the hash of pairs and of that of items
    test: float  # share of the pairs
    cold_items: float  # share of the items, whose pairs are withheld from train
    user_space: str | None  # None: users by their ids; else by pseudonyms, with this id of the key

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> Split:
        """Return the split described by holdout.json or by the record of a release.

        An early release lacks `cold_items` and `user_space`: it counts as one without withheld items that identified
        users by their ids.
        """
        cutoffs = description["cutoffs"]
        return cls(
            strategy=description["strategy"],
            cutoffs=(cutoffs[0], cutoffs[1]) if cutoffs else None,
            seed=description["seed"],
            test=description["test"],
            cold_items=description.get("cold_items") or 0.0,
            user_space=description.get("user_space"),
        )


def seen(then: Split, now: Split) -> str | None:
    """Return why a model of the split `then` is unfair to compare on the holdout of `now`; None if it is fair.

    Under a split by time, it has seen the pairs before its own test set, whose first event repeated events do not
    move. Under a split by hash, a pair keeps its value between 0 and 1 as long as the seed and the user's name are the
    same; values below the share are test. Withheld items are drawn by hash under both; a smaller share is a subset of a
    larger one.
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
    """Return why the model may have been trained on items that are withheld now; None if not."""
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
    """Return the kind of user identifiers, as text."""
    if split.user_space is None:
        return "the ids of users"
    return f"pseudonyms of users (key {split.user_space})"
