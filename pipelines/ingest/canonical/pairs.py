"""The events of a pair of user and item become one row: an engine sorts them, and batch by batch they are merged.

The time of a pair is that of its first event. A split by time then has in test what was new when test began, and a pair
stays in its part however often it is repeated: by the last event it would move from train into the test set of a later
split, where a model that was trained on it is judged.
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
    """One row per user and item of `events`, in their order: value by the rule, first known time, number of events."""
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
    """How many users have `events`; after these were merged."""
    query = "select count(*) from ranks_of_user_id"
    if not isinstance(engine, Embedded):
        query = "select count(distinct user_id) from events"
    return int(engine.rows(query)[0][0])


def ordered(user: str, item: str, source: str) -> str:
    """SQL of events (user, item, value, instant, n) in the order in which they are merged."""
    return f"""select {user} as user_id, {item} as item_id, value::double as value, instant, 1::bigint as n
               from {source} order by {user}, {item}, instant nulls first, file, seq"""


def ranked(engine: Embedded, column: str) -> pa.Array[Any]:
    """The ids of a column of `events` in order; the table `ranks_of_<column>` knows the place of each, `<column>_rank`.

    Places sort and compare several times as fast as texts.
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
    """The schema with places in the place of ids."""
    fields: list[pa.Field[Any]] = [pa.field(f.name, pa.uint32(), f.nullable) if f.name in IDS else f for f in schema]
    return pa.schema(fields)


def named(batch: pa.RecordBatch, ids: dict[str, pa.Array[Any]]) -> pa.RecordBatch:
    """A batch with ids in the place of places."""
    columns = [
        ids[name].take(column).cast(pa.string()) if name in ids else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=tables.INTERACTIONS)


def collapsed(events: Iterable[pa.RecordBatch], duplicates: str) -> Iterator[pa.Table]:
    """Sorted events (user_id, item_id, value, instant, n) with one row per pair."""
    rest = None
    for batch in events:
        table = pa.table(batch.columns, names=batch.schema.names)  # engines say in their own ways what may be null
        whole = of_pairs(pa.concat_tables([rest, table]).combine_chunks() if rest else table, duplicates)
        rest = whole.slice(max(whole.num_rows - 1, 0))  # the next batch may go on with it
        yield whole.slice(0, max(whole.num_rows - 1, 0))
    if rest is not None:
        yield rest


def of_pairs(events: pa.Table, duplicates: str) -> pa.Table:
    """One row per pair of sorted events, of which the first may be a pair that is merged as far as it goes."""
    if events.num_rows < 2:
        return events
    same = [pc.equal(events[key].slice(1), events[key].slice(0, events.num_rows - 1)) for key in IDS]
    new = ~pc.and_(*same).to_numpy()  # whether an event is not of the pair before it
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
    """Pairs as the canonical table has them, whatever stands for their ids."""
    for table in pairs:
        value = np.minimum(table["value"].to_numpy(), LARGEST_VALUE).astype(np.float32)
        time = table["instant"].cast(tables.INTERACTIONS.field("timestamp").type)
        n = table["n"].cast(pa.int32())
        columns = [table["user_id"], table["item_id"], pa.chunked_array([value]), time, n]
        yield from pa.table(columns, names=tables.INTERACTIONS.names).to_batches()
