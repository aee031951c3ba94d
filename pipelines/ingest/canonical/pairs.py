"""Merge the events of each pair of user and item into one row: an engine sorts them, then batches are merged.

The time of a pair is that of its first event. In a split by time, the test set then holds the pairs that were new when
it began, and repeated events do not move a pair. With the time of the last event, a pair would move from train into the
test set of a later split, where a model that was trained on it is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.inference.event_bounds import LARGEST_VALUE
from pipelines.artifacts import tables
from pipelines.runtime.engine import Embedded, Tables

IDS = ("user_id", "item_id")
LONGEST = 2**31 - 1  # bytes of texts in an array of type string
NEVER = np.iinfo(np.int64).max  # later than any instant


def merged(engine: Tables, duplicates: str) -> pa.RecordBatchReader:
    """Return a row per user and item of `events`, in order: value by the rule, first known time, number of events."""
    if not isinstance(engine, Embedded):
        events = engine.batches(ordered("user_id", "item_id", "events"), tables.ROWS)
        return tables.even(finished(collapsed(events, duplicates)), tables.INTERACTIONS)
    ids = {column: ranked(engine, column) for column in IDS}
    joined = " ".join(f"join ranks_of_{column} using ({column})" for column in IDS)
    source = f"(select user_id_rank, item_id_rank, value, instant, file, seq from events {joined})"
    events = engine.batches(ordered("user_id_rank", "item_id_rank", source), tables.ROWS)
    batches = tables.even(finished(collapsed(events, duplicates)), ranks_of(tables.INTERACTIONS))
    return pa.RecordBatchReader.from_batches(
        tables.INTERACTIONS, (named(batch, ids) for batch in tables.ahead(batches))
    )


def n_users(engine: Tables) -> int:
    """Return the number of users with `events`; call it after the events are merged."""
    query = "select count(*) from ranks_of_user_id"
    if not isinstance(engine, Embedded):
        query = "select count(distinct user_id) from events"
    return int(engine.rows(query)[0][0])


def ordered(user: str, item: str, source: str) -> str:
    """Return SQL of events (user, item, value, instant, n) in the order in which they are merged."""
    return f"""select {user} as user_id, {item} as item_id, value::double as value, instant, 1::bigint as n
               from {source} order by {user}, {item}, instant nulls first, file, seq"""


def ranked(engine: Embedded, column: str) -> pa.Array[Any]:
    """Return the ids of a column of `events` in order; the table `ranks_of_<column>` has the rank, `<column>_rank`.

    Ranks sort and compare several times as fast as texts.
    """
    engine.keep(
        f"ranks_of_{column}",
        f"""select {column}, (row_number() over (order by {column}) - 1)::uinteger as {column}_rank
            from (select distinct {column} from events)""",
    )
    ids = engine.table(f"select {column} from ranks_of_{column} order by {column}_rank")
    large = ids.nbytes > LONGEST
    return ids[column].cast(pa.large_string() if large else pa.string()).combine_chunks()


def ranks_of(schema: pa.Schema) -> pa.Schema:
    """Return the schema with ranks instead of ids."""
    fields: list[pa.Field[Any]] = [pa.field(f.name, pa.uint32(), f.nullable) if f.name in IDS else f for f in schema]
    return pa.schema(fields)


def named(batch: pa.RecordBatch, ids: dict[str, pa.Array[Any]]) -> pa.RecordBatch:
    """Return a batch with ids instead of ranks."""
    columns = [
        ids[name].take(column).cast(pa.string()) if name in ids else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=tables.INTERACTIONS)


def collapsed(events: Iterable[pa.RecordBatch], duplicates: str) -> Iterator[pa.Table]:
    """Merge sorted events (user_id, item_id, value, instant, n) into one row per pair."""
    rest = None
    for batch in events:
        table = pa.table(batch.columns, names=batch.schema.names)  # engines differ in the nullability of columns
        whole = of_pairs(pa.concat_tables([rest, table]).combine_chunks() if rest else table, duplicates)
        rest = whole.slice(max(whole.num_rows - 1, 0))  # the next batch may continue this pair
        yield whole.slice(0, max(whole.num_rows - 1, 0))
    if rest is not None:
        yield rest


def of_pairs(events: pa.Table, duplicates: str) -> pa.Table:
    """Return one row per pair of sorted events; the first event may be a pair that is partly merged."""
    if events.num_rows < 2:
        return events
    same = [pc.equal(events[key].slice(1), events[key].slice(0, events.num_rows - 1)) for key in IDS]
    new = ~pc.and_(*same).to_numpy()  # whether an event begins another pair
    if new.all():
        return events
    first = np.concatenate([[0], 1 + np.flatnonzero(new)])
    last = np.append(first[1:], events.num_rows) - 1
    value, n = events["value"].to_numpy(), events["n"].to_numpy()
    times: Any = events["instant"]
    if duplicates == "last":
        of_pair = value[last]
    else:
        of_pair = (np.maximum if duplicates == "max" else np.add).reduceat(value, first)
    pairs = events.take(pa.array(last))
    pairs = pairs.set_column(2, "value", pa.array(of_pair))
    began = np.minimum.reduceat(times.fill_null(NEVER).to_numpy(), first)
    pairs = pairs.set_column(3, "instant", pa.array(began, mask=began == NEVER))
    return pairs.set_column(4, "n", pa.array(np.add.reduceat(n, first)))


def finished(pairs: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Return pairs with the columns of the canonical table; their ids may be ranks."""
    for table in pairs:
        value = np.minimum(table["value"].to_numpy(), LARGEST_VALUE).astype(np.float32)
        time = table["instant"].cast(tables.INTERACTIONS.field("timestamp").type)
        n = table["n"].cast(pa.int32())
        columns = [table["user_id"], table["item_id"], pa.chunked_array([value]), time, n]
        yield from pa.table(columns, names=tables.INTERACTIONS.names).to_batches()
