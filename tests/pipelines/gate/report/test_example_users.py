"""Example users of the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.evaluation.measure import Evaluation
from pipelines.gate.report import example_users, examples, page

HEAD = 12
ITEMS = pa.table(
    {
        "item_id": [f"i{i}" for i in range(2 * HEAD)],
        "title": [None, *(f"Title {i}" for i in range(1, 2 * HEAD))],
        "is_tail": [i >= HEAD for i in range(2 * HEAD)],
    }
)
USERS = np.arange(20)


def pairs() -> pa.Table:
    """User u has ten interactions, first u // 2 of the tail, then those of the head in order."""
    rows = [(u, item, n) for u in USERS for n, item in enumerate([*range(HEAD, HEAD + u // 2), *range(10 - u // 2)])]
    users, items, times = zip(*rows, strict=True)
    columns = {"user_idx": pa.array(users, pa.int32()), "item_idx": pa.array(items, pa.int32())}
    return pa.table({**columns, "timestamp": pa.array(times, pa.timestamp("us"))})


def evaluations(*names: str) -> dict[str, Evaluation]:
    lists = np.tile(np.array([13, 0, 17, -1], np.int32), (20, 1))
    return {name: Evaluation({}, lists) for name in names}


def choose(*names: str) -> list[example_users.Example]:
    test = pa.table({"user_idx": pa.array(range(20), pa.int32()), "item_idx": pa.array([17] * 20, pa.int32())})
    return example_users.choose(evaluations(*names), USERS, pairs(), test, ITEMS)


def test_examples_go_from_who_lives_off_the_tail_to_who_keeps_to_the_head() -> None:
    shares = [example.tail_share for example in choose("candidate", "popularity")]
    assert shares == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])


def test_lists_mark_tail_items_and_hits_and_stop_where_they_end() -> None:
    example = choose("candidate", "champion", "popularity")[0]
    assert list(example.lists) == ["champion", "candidate"]
    shown = example.lists["candidate"]
    assert [(item.title, item.is_tail, item.is_hit) for item in shown] == [
        ("Title 13", True, False),
        ("i0", False, False),  # without a title
        ("Title 17", True, True),
    ]


def test_without_a_champion_popularity_stands_beside_the_candidate() -> None:
    assert list(choose("candidate", "popularity", "random")[0].lists) == ["popularity", "candidate"]


def test_the_history_begins_with_the_item_that_came_last() -> None:
    example = choose("candidate", "popularity")[-1]  # of head items, in the order of the history
    assert [item.title for item in example.history] == [f"Title {n}" for n in range(9, 1, -1)]
    assert example.n_history == 10


def test_a_history_without_times_claims_no_order() -> None:
    example = choose("candidate", "popularity")[-1]
    assert examples.history_heading(example) == "History, latest first, 8 of 10 items"
    assert examples.history_heading(replace(example, n_history=8, by_time=False)) == "History"
    for name, known in (("timestamp", True), ("other", False)):
        assert example_users.has_times(pairs().rename_columns(["user_idx", "item_idx", name]), 3) == known
    nothing = pairs().drop_columns("timestamp").append_column("timestamp", pa.nulls(200, pa.timestamp("us")))
    assert not example_users.has_times(nothing, 3)


def test_titles_cannot_inject_markup() -> None:
    example = choose("candidate", "popularity")[0]
    nasty = example_users.Shown("<b>*x*</b> | `y`", is_tail=True, is_hit=True)
    example = replace(example, history=[nasty])
    macros: Any = page.environment().get_template("sections.html").module
    assert "<b>" not in macros.list_of(example.history)
    text = "\n".join(examples.markdown([example]))
    assert "&lt;b>\\*x\\*&lt;/b> \\| \\`y\\` ✓" in text
