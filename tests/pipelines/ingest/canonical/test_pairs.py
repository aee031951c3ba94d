"""The events of a pair become one row, however they are cut into batches."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.canonical.pairs import collapsed

COLUMNS: dict[str, pa.DataType] = {
    "user_id": pa.string(), "item_id": pa.string(), "value": pa.float64(), "instant": pa.int64(), "n": pa.int64()
}  # fmt: skip
Event = tuple[str, str, float, int | None, int]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("uv"), st.sampled_from("ij"), st.sampled_from([1.0, 2.0, 4.0]),
        st.none() | st.integers(-3, 3), st.just(1),
    ),
    min_size=1, max_size=30,
)  # fmt: skip


def in_order(events: list[Event]) -> list[Event]:
    """As the engines sort them: unknown times first."""
    return sorted(events, key=lambda e: (e[0], e[1], e[3] is not None, e[3] or 0))


def merged(events: list[Event], rule: str, *, size: int) -> list[Event]:
    batches = pa.table([list(column) for column in zip(*events, strict=True)], schema=pa.schema(COLUMNS)).to_batches(
        size
    )
    return [tuple(row.values()) for table in collapsed(batches, rule) for row in table.to_pylist()]


def slowly(events: list[Event], rule: str) -> list[Event]:
    """Slow twin."""
    pairs: list[Event] = []
    for (user, item), of_pair in groupby(events, key=lambda event: event[:2]):
        _, _, values, instants, counts = zip(*of_pair, strict=True)
        value: Any = {"last": values[-1], "max": max(values), "sum": sum(values)}[rule]
        pairs.append((user, item, value, min((t for t in instants if t is not None), default=None), sum(counts)))
    return pairs


@pytest.mark.parametrize("rule", ["last", "max", "sum"])
@given(events=EVENTS.map(in_order), size=st.integers(1, 31))
def test_batches_of_any_size_give_what_the_slow_twin_gives(rule: str, events: list[Event], size: int) -> None:
    assert merged(events, rule, size=size) == slowly(events, rule)


@pytest.mark.parametrize(("instants", "time"), [((None, None, 5, 9), 5), ((None, None), None), ((0, 7), 0)])
def test_a_pair_has_the_time_of_its_first_event_whose_time_is_known(
    instants: tuple[int | None, ...], time: int | None
) -> None:
    events: list[Event] = [("u", "i", float(n), instant, 1) for n, instant in enumerate(instants, start=1)]
    assert merged(events, "last", size=3) == [("u", "i", float(len(events)), time, len(events))]
