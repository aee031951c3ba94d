"""Assign every interaction to train, valid or test, in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.evaluation import holdout
from pipelines.artifacts import quarantine, tables
from pipelines.artifacts.outputs import StageRun
from pipelines.runtime import engine as engines
from pipelines.runtime.console import say
from pipelines.runtime.engine import Tables
from pipelines.settings.engine import Engine
from pipelines.settings.split import Split

PARTS = ("train", "valid", "test")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A cutoff at midnight is readable, and does not move when a few events are added; the first unit with cutoffs that
# keep the shares to within a tenth is used.
UNITS = ("day", "hour", "minute", "second", "microsecond")
TOLERANCE = 0.1
MIN_KNOWN = 0.5  # `auto` splits by time only if at least this share of later events is of users seen before

MAX_ID = 256  # characters, as in ingest
WINDOW = 100_000  # maximum rows per sort of a window function, as far as ids differ in their first letters

# The SQL below is common to DuckDB and Spark. Both compare strings by their UTF-8 bytes, as Python does, and both
# return md5 of a string as the same hex text.
BY_TIME = """
    case when event_time < {valid_from} then 'train' when event_time < {test_from} then 'valid' else 'test' end
"""
BY_HASH = """
    case when substr(md5(concat('{seed}', ':', user_id, ':', item_id)), 1, 8) < '{test}' then 'test'
         when substr(md5(concat('{seed}', ':', user_id, ':', item_id)), 1, 8) < '{valid_or_test}' then 'valid'
         else 'train' end
"""
COLD_ITEMS = "select item_id from catalogue where substr(md5(concat('{seed}', ':cold:', item_id)), 1, 8) < '{cold}'"
PREFIXES = """
    select prefix, coalesce(sum(n) over (order by prefix rows between unbounded preceding and 1 preceding), 0) as before
    from (select substr({id}, 1, {width}) as prefix, count(*) as n from {ids} group by substr({id}, 1, {width})) p
"""
# sorted ids are those of the first prefix, sorted, followed by those of the next
INDICES = """
    select i.{id}, cast(p.before + row_number() over (partition by p.prefix order by i.{id}) - 1 as int) as {idx}
    from {ids} i join prefixes_of_{ids} p on substr(i.{id}, 1, {width}) = p.prefix
"""
PARTED = """
    select i.user_id, i.item_id, i.value, i.event_time,
           case when c.item_id is not null and i.part = 'train' then 'withheld' else i.part end as part
    from (select user_id, item_id, value, event_time, {part} as part from interactions) i
    left join cold_items c on i.item_id = c.item_id
"""
KNOWN_USERS = "select distinct user_id from parted where part = 'train'"
INDEXED = """
    select u.user_idx, c.item_idx, p.value, p.event_time, p.part
    from parted p join catalogue c on p.item_id = c.item_id left join users u on p.user_id = u.user_id
"""


@contextmanager
def session(stage: StageRun, paths: dict[str, Path], memory_limit: str, engine: Engine) -> Iterator[Tables]:
    """Yield the engine with the views `interactions`, without quarantined ones, and `items`."""
    with engines.tables(stage, memory_limit, engine) as found:
        interactions = f"""select user_id, item_id, value, cast("timestamp" as timestamp) as event_time
            from {found.parquet(paths["interactions"])}"""
        left_out = paths["quarantine"]
        found.view("interactions", quarantine.without(interactions, left_out, found.parquet(left_out)))
        found.view("items", f"select item_id from {found.parquet(paths['items'])}")
        yield found


def choose_cutoffs(engine: Tables, params: Split) -> list[str] | None:
    """Return the first moments of valid and of test, as ISO text in UTC; None for a split by hash."""
    if params.strategy == "hash":
        return None
    n, dated = row(engine, "select count(*), count(event_time) from interactions")
    if dated < n:
        if params.strategy == "time":
            raise ValueError(
                f"split.strategy is time, but {n - dated} of {n} interactions have no timestamp; set it to hash or auto"
            )
        return None
    cutoffs = find_cutoffs(engine, params)
    if params.strategy == "auto" and (known := known_share(engine, cutoffs[0])) < MIN_KNOWN:
        say(
            "split",
            f"by hash, not by time: only {known:.0%} of the events from {cutoffs[0]} on are of users seen before",
        )
        return None
    return cutoffs


def known_share(engine: Tables, valid_from: str) -> float:
    """Return the share of events from a moment on that are of users with earlier events."""
    later, known = row(
        engine,
        f"""select count(*), count(case when u.first_time < {moment(valid_from)} then 1 end)
            from interactions i
            join (select user_id, min(event_time) as first_time from interactions group by user_id) u
              on i.user_id = u.user_id
            where i.event_time >= {moment(valid_from)}""",
    )
    return float(known / later)


def moment(iso: str) -> str:
    """Return a time in UTC as a SQL literal."""
    return f"cast('{iso.removesuffix('+00:00')}' as timestamp)"


def find_cutoffs(engine: Tables, params: Split) -> list[str]:
    """Return the cutoffs of the coarsest unit that keeps the shares."""
    for unit in UNITS:
        histogram = engine.table(f"""
            select date_trunc('{unit}', event_time) as time, count(*) as n from interactions
            group by date_trunc('{unit}', event_time) order by time""")
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


def assign_parts(engine: Tables, params: Split, cutoffs: list[str] | None) -> None:
    """Create `users`, `catalogue` and `indexed`: every interaction with its part and its indices.

    user_idx is null for users without interactions in train.
    """
    if cutoffs:
        part = BY_TIME.format(valid_from=moment(cutoffs[0]), test_from=moment(cutoffs[1]))
    else:
        test, valid_or_test = holdout.bucket_bound(params.test), holdout.bucket_bound(params.test + params.valid)
        part = BY_HASH.format(seed=params.seed, test=test, valid_or_test=valid_or_test)
    cold = COLD_ITEMS.format(seed=params.seed, cold=holdout.bucket_bound(params.cold_items))
    engine.keep("catalogue", indices(engine, "items", "item_id", "item_idx"))
    engine.keep("cold_items", cold)
    engine.view("parted", PARTED.format(part=part))
    engine.keep("known_users", KNOWN_USERS)
    engine.keep("users", indices(engine, "known_users", "user_id", "user_idx"))
    engine.keep("indexed", INDEXED)


def indices(engine: Tables, ids: str, key: str, idx: str) -> str:
    """Return the SQL of the ids in a table with their ranks in ascending order, from 0."""
    width, largest = 0, WINDOW + 1
    while largest > WINDOW and width <= MAX_ID:
        (largest,) = row(
            engine,
            f"""select coalesce(max(n), 0) from (
                  select count(*) as n from {ids} group by substr({key}, 1, {width})) p""",
        )
        if largest > WINDOW:
            width = 2 * width or 1
    engine.keep(f"prefixes_of_{ids}", PREFIXES.format(ids=ids, id=key, width=width))
    return INDICES.format(ids=ids, id=key, idx=idx, width=width)


def count_parts(engine: Tables) -> dict[str, Any]:
    """Return n_train, n_valid, n_test and the numbers left out; every interaction is in exactly one of them."""
    groups = engine.rows("select part, user_idx is not null, count(*) from indexed group by part, user_idx is not null")
    count: dict[tuple[str, bool], int] = {(part, known): n for part, known, n in groups}
    kept = {f"n_{part}": count.get((part, True), 0) for part in PARTS}
    left_out = {
        "train_of_withheld_items": count.get(("withheld", True), 0) + count.get(("withheld", False), 0),
        "valid_of_new_users": count.get(("valid", False), 0),
        "test_of_new_users": count.get(("test", False), 0),
    }
    (n,) = row(engine, "select count(*) from interactions")
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


def test_pairs(engine: Tables) -> Iterator[tuple[str, str]]:
    """Yield (user_id, item_id) of test in ascending order."""
    pairs = """
        select u.user_id, c.item_id from indexed i
        join users u on i.user_idx = u.user_idx join catalogue c on i.item_idx = c.item_idx
        where i.part = 'test' order by i.user_idx, i.item_idx"""
    for batch in engine.batches(pairs, tables.ROWS):
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def row(engine: Tables, sql: str) -> tuple[Any, ...]:
    return engine.rows(sql)[0]
