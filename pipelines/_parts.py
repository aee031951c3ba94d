"""Train, valid or test: which part every interaction belongs to, decided in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from models import holdout
from pipelines import _engine
from pipelines import _tables as tables
from pipelines._artifacts import StageRun
from pipelines._params import Split
from pipelines._stage import say

PARTS = ("train", "valid", "test")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A cutoff at midnight can be read and stays where it is when a few events are added; the first unit whose cutoffs hold
# the shares to within a tenth is taken.
UNITS = ("day", "hour", "minute", "second", "microsecond")
TOLERANCE = 0.1
MIN_KNOWN = 0.5  # `auto` splits by time only where at least this share of later events is of users seen before

# The SQL below is common to DuckDB and Spark; what is not stands in `session`. Both compare strings by their UTF-8
# bytes, which is the order of Python's strings too, and md5 of a string is the same hex text in both.
BY_TIME = """
    case when event_time < {valid_from} then 'train' when event_time < {test_from} then 'valid' else 'test' end
"""
BY_HASH = """
    case when substr(md5(concat('{seed}', ':', user_id, ':', item_id)), 1, 8) < '{test}' then 'test'
         when substr(md5(concat('{seed}', ':', user_id, ':', item_id)), 1, 8) < '{valid_or_test}' then 'valid'
         else 'train' end
"""
COLD_ITEMS = "select item_id from catalogue where substr(md5(concat('{seed}', ':cold:', item_id)), 1, 8) < '{cold}'"
CATALOGUE = "select item_id, cast(row_number() over (order by item_id) - 1 as int) as item_idx from items"
PARTED = """
    select i.user_id, i.item_id, i.value, i.event_time,
           case when c.item_id is not null and i.part = 'train' then 'withheld' else i.part end as part
    from (select user_id, item_id, value, event_time, {part} as part from interactions) i
    left join cold_items c on i.item_id = c.item_id
"""
KNOWN_USERS = """
    select user_id, cast(row_number() over (order by user_id) - 1 as int) as user_idx
    from (select distinct user_id from parted where part = 'train') u
"""
INDEXED = """
    select u.user_idx, c.item_idx, p.value, p.event_time, p.part
    from parted p join catalogue c on p.item_id = c.item_id left join users u on p.user_id = u.user_id
"""


@contextmanager
def session(stage: StageRun, paths: dict[str, Path], memory_limit: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the views `interactions` and `items`."""
    with _engine.connect(stage, memory_limit) as con:
        con.execute(f"""create view interactions as
            select user_id, item_id, value, cast("timestamp" as timestamp) as event_time
            from read_parquet('{paths["interactions"]}')""")
        con.execute(f"create view items as select item_id from read_parquet('{paths['items']}')")
        yield con


def choose_cutoffs(con: duckdb.DuckDBPyConnection, params: Split) -> list[str] | None:
    """First moments of valid and of test, as ISO text in UTC; None stands for a split by hash."""
    if params.strategy == "hash":
        return None
    n, dated = row(con, "select count(*), count(event_time) from interactions")
    if dated < n:
        if params.strategy == "time":
            raise ValueError(
                f"split.strategy is time, but {n - dated} of {n} interactions have no timestamp; set it to hash or auto"
            )
        return None
    cutoffs = find_cutoffs(con, params)
    if params.strategy == "auto" and (known := known_share(con, cutoffs[0])) < MIN_KNOWN:
        say(
            "split",
            f"by hash, not by time: only {known:.0%} of the events from {cutoffs[0]} on are of users seen before",
        )
        return None
    return cutoffs


def known_share(con: duckdb.DuckDBPyConnection, valid_from: str) -> float:
    """Share of the events from a moment on whose user has been active before it."""
    later, known = row(
        con,
        f"""select count(*), count(case when u.first_time < {moment(valid_from)} then 1 end)
            from interactions i
            join (select user_id, min(event_time) as first_time from interactions group by user_id) u
              on i.user_id = u.user_id
            where i.event_time >= {moment(valid_from)}""",
    )
    return float(known / later)


def moment(iso: str) -> str:
    """A time in UTC as a SQL literal."""
    return f"cast('{iso.removesuffix('+00:00')}' as timestamp)"


def find_cutoffs(con: duckdb.DuckDBPyConnection, params: Split) -> list[str]:
    """The cutoffs of the coarsest unit that holds the shares."""
    for unit in UNITS:
        histogram = con.sql(f"""
            select date_trunc('{unit}', event_time) as time, count(*) as n from interactions
            group by date_trunc('{unit}', event_time) order by time""").to_arrow_table()
        if histogram.num_rows < 3 and unit != UNITS[-1]:
            continue
        times, counts = histogram["time"].cast(pa.int64()).to_numpy(), histogram["n"].to_numpy()
        try:
            found = holdout.time_cutoffs(times, counts, valid=params.valid, test=params.test)
        except ValueError as error:
            raise ValueError(f"{error}; set split.strategy to hash") from None
        if found.deviation <= TOLERANCE:
            break
    return [(EPOCH + timedelta(microseconds=time)).isoformat() for time in (found.valid_from, found.test_from)]


def assign_parts(con: duckdb.DuckDBPyConnection, params: Split, cutoffs: list[str] | None) -> None:
    """Create `users`, `catalogue` and `indexed`: every interaction with its part and its indices.

    user_idx is null for users without interactions in train.
    """
    if cutoffs:
        part = BY_TIME.format(valid_from=moment(cutoffs[0]), test_from=moment(cutoffs[1]))
    else:
        test, valid_or_test = holdout.bucket_bound(params.test), holdout.bucket_bound(params.test + params.valid)
        part = BY_HASH.format(seed=params.seed, test=test, valid_or_test=valid_or_test)
    cold = COLD_ITEMS.format(seed=params.seed, cold=holdout.bucket_bound(params.cold_items))
    con.execute(f"create table catalogue as {CATALOGUE}")
    con.execute(f"create table cold_items as {cold}")
    con.execute(f"create view parted as {PARTED.format(part=part)}")
    con.execute(f"create table users as {KNOWN_USERS}")
    con.execute(f"create table indexed as {INDEXED}")


def count_parts(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """n_train, n_valid, n_test and what was left out; every interaction is in exactly one of them."""
    groups = con.sql("select part, user_idx is not null, count(*) from indexed group by part, user_idx is not null")
    count: dict[tuple[str, bool], int] = {(part, known): n for part, known, n in groups.fetchall()}
    kept = {f"n_{part}": count.get((part, True), 0) for part in PARTS}
    left_out = {
        "train_of_withheld_items": count.get(("withheld", True), 0) + count.get(("withheld", False), 0),
        "valid_of_new_users": count.get(("valid", False), 0),
        "test_of_new_users": count.get(("test", False), 0),
    }
    (n,) = row(con, "select count(*) from interactions")
    if sum(kept.values()) + sum(left_out.values()) != n:
        raise ValueError(
            f"split accounts for {sum(kept.values()) + sum(left_out.values())} of {n} interactions: an item_id of "
            "interactions is missing from items or occurs twice; run `dvc repro validate --force`"
        )
    for name, found in kept.items():
        if not found:
            raise ValueError(
                f"split.{name.removeprefix('n_')} is empty: of {n} interactions {kept}, left out {left_out}; "
                "add data, enlarge its share or set split.strategy to hash"
            )
    return {**kept, "left_out": left_out}


def test_pairs(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """(user_id, item_id) of test in ascending order."""
    pairs = con.sql("""
        select u.user_id, c.item_id from indexed i
        join users u on i.user_idx = u.user_idx join catalogue c on i.item_idx = c.item_idx
        where i.part = 'test' order by i.user_idx, i.item_idx""")
    for batch in pairs.to_arrow_reader(tables.ROWS):
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def row(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    return con.sql(sql).fetchall()[0]
