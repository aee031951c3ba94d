"""Whether an older model has seen pairs of the holdout it shall be judged on, from how both splits were made.

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
    seed: int  # of the hash
    test: float  # share of the pairs
    user_space: str | None  # None: users by their ids; else by pseudonyms, and this tells their key from another one


def seen(then: Split, now: Split) -> str | None:
    """Why a model of the split `then` is no fair comparison on the test set of `now`; None where it is one.

    By time it has seen the pairs that were there before its own test set began, which repeats do not move. By hash a
    pair keeps its place between 0 and 1 as long as the seed and the name of its user are the same, and test is what
    lies below its share.
    """
    if then.strategy != now.strategy:
        return f"it was trained on a split by {then.strategy}, and this holdout is drawn by {now.strategy}"
    if then.cutoffs and now.cutoffs:
        until, begins = then.cutoffs[1], now.cutoffs[1]
        if datetime.fromisoformat(begins) < datetime.fromisoformat(until):
            return f"it was trained and chosen on events up to {until}, and this holdout begins at {begins}"
        return None
    if then.user_space != now.user_space:
        return f"its pairs were drawn by {users(then)}, and this holdout is drawn by {users(now)}"
    if then.seed != now.seed:
        return f"its pairs were drawn with seed {then.seed}, and this holdout is drawn with seed {now.seed}"
    if now.test > then.test:
        return f"its holdout was the first {then.test:g} of all pairs by hash, and this one is the first {now.test:g}"
    return None


def users(split: Split) -> str:
    """What users are called by, in words."""
    if split.user_space is None:
        return "the ids of users"
    return f"pseudonyms of users (key {split.user_space})"
