"""Example users for the report: their interactions, and the recommendations of two models.

All judged users are ordered by the tail's share of their history, and the user in the middle of each fifth is shown,
without ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.evaluation.measure import Evaluation
from models.evaluation.metric import Bools

N_USERS, N_HISTORY, K = 5, 8, 10
Indices = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Shown:
    """Item as shown in the report."""

    title: str
    is_tail: bool
    is_hit: bool  # the user interacted with it in test


@dataclass(frozen=True)
class Example:
    """Example user: the latest items of the history, and lists by model."""

    n_history: int
    tail_share: float
    history: list[Shown]
    by_time: bool  # the history begins with the latest item
    lists: dict[str, list[Shown]]


def choose(
    evaluations: Mapping[str, Evaluation], user_idx: Indices, train: pa.Table, test: pa.Table, items: pa.Table
) -> list[Example]:
    """Return examples with the lists of champion (popularity without a champion) and candidate.

    user_idx: (n_users,) of the evaluations' rows; train and test: the split's tables, items: item_id, title, is_tail.
    """
    other = "champion" if "champion" in evaluations else "popularity"
    models = [name for name in (other, "candidate") if name in evaluations]
    is_tail = items["is_tail"].to_numpy()
    shares = tail_shares(train, is_tail, n_users=int(user_idx.max()) + 1)[user_idx]
    order = np.argsort(-shares, kind="stable")
    n = min(N_USERS, len(order))
    rows = order[((np.arange(n) + 0.5) * len(order) / n).astype(np.int64)]
    titles = names(items)
    examples = []
    for row in rows.tolist():
        history, wanted = latest(train, int(user_idx[row])), set(latest(test, int(user_idx[row])))

        def shown(found: Sequence[int], wanted: set[int] = wanted) -> list[Shown]:
            return [Shown(titles[item], bool(is_tail[item]), item in wanted) for item in found if item >= 0]

        lists = {name: shown(evaluations[name].lists[row, :K].tolist()) for name in models}
        by_time = has_times(train, int(user_idx[row]))
        examples.append(Example(len(history), float(shares[row]), shown(history[:N_HISTORY]), by_time, lists))
    return examples


def tail_shares(train: pa.Table, is_tail: Bools, *, n_users: int) -> npt.NDArray[np.float64]:
    """Return the tail's share of every user's train pairs, (n_users,)."""
    users = train["user_idx"].to_numpy()
    keep = users < n_users
    of_tail = is_tail[train["item_idx"].to_numpy()[keep]]
    counts = np.bincount(users[keep], minlength=n_users)
    shares: npt.NDArray[np.float64] = np.bincount(users[keep], weights=of_tail, minlength=n_users) / np.maximum(
        counts, 1
    )
    return shares


def has_times(pairs: pa.Table, user: int) -> bool:
    """Return whether any event of a user has a time."""
    if "timestamp" not in pairs.column_names:
        return False
    times: Any = pairs.filter(pc.equal(pairs["user_idx"], pa.scalar(user, pa.int32())))["timestamp"]
    return bool(times.null_count < len(times))


def latest(pairs: pa.Table, user: int) -> list[int]:
    """Return the items of one user by the time of their first events, latest first, if there are times."""
    of_user: Any = pairs.filter(pc.equal(pairs["user_idx"], pa.scalar(user, pa.int32())))
    if "timestamp" in of_user.column_names:
        of_user = of_user.sort_by([("timestamp", "descending"), ("item_idx", "ascending")])
    return [int(item) for item in of_user["item_idx"].to_pylist()]


def names(items: pa.Table) -> list[str]:
    """Return titles, or ids for items without title."""
    titles = items["title"].to_pylist() if "title" in items.column_names else [None] * items.num_rows
    return [str(title or item_id) for title, item_id in zip(titles, items["item_id"].to_pylist(), strict=True)]
