"""Writes data/split: train, valid and test without leakage, users and items with their indices, head and tail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models import holdout
from pipelines import _artifacts as artifacts
from pipelines import _tables as tables
from pipelines._params import Split, load
from pipelines._stage import run, say

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROWS = 122_880  # of a row group: DuckDB's own, so that its batches pass unchanged
# A cutoff at midnight can be read and stays where it is when a few events are added; the first unit whose cutoffs hold
# the shares to within a tenth is taken.
UNITS = ("day", "hour", "minute", "second", "microsecond")
TOLERANCE = 0.1
MIN_KNOWN = 0.5  # `auto` splits by time only where at least this share of later events is of users seen before

PARTS = ("train", "valid", "test")
_pairs: list[pa.Field[Any]] = [
    pa.field("user_idx", pa.int32(), nullable=False),
    pa.field("item_idx", pa.int32(), nullable=False),
    pa.field("value", pa.float32(), nullable=False),
    tables.INTERACTIONS.field("timestamp"),
]
_users: list[pa.Field[Any]] = [
    pa.field("user_idx", pa.int32(), nullable=False),
    pa.field("user_id", pa.string(), nullable=False),
]
_counted: list[pa.Field[Any]] = [  # what split adds to an item
    pa.field("popularity", pa.int32(), nullable=False),  # distinct users in train
    pa.field("is_head", pa.bool_(), nullable=False),
    pa.field("is_tail", pa.bool_(), nullable=False),
    pa.field("is_cold", pa.bool_(), nullable=False),  # no interaction in train
]
PAIRS, USERS, COUNTED = pa.schema(_pairs), pa.schema(_users), pa.schema(_counted)

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


def main() -> None:
    params = load(Split)
    with artifacts.stage("split") as stage:
        paths = {name: stage.input("ingest", f"{name}.parquet") for name in ("interactions", "items")}
        require_validated(stage)
        with session(paths, spill=stage.folder) as con:
            cutoffs = choose_cutoffs(con, params)
            assign_parts(con, params, cutoffs)
            counts = count_parts(con)
            for part in PARTS:
                tables.write(pairs_of(con, part), stage.output(f"{part}.parquet"))
            n_users = tables.write(
                query(con, "select user_idx, user_id from users order by user_idx", USERS),
                stage.output("users.parquet"),
            )
            items = count_items(con, params.head)
            tables.write(with_counts(paths["items"], items), stage.output("items.parquet"))
            test_sha256 = holdout.holdout_sha256(test_pairs(con))
        tail_ids = (str(item_id) for item_id in items.filter(items["is_tail"])["item_id"].to_pylist())
        summary = {
            "strategy": "time" if cutoffs else "hash",
            "cutoffs": cutoffs,
            "seed": params.seed,
            "head_share": params.head,
            "tail_sha256": holdout.tail_sha256(tail_ids, head_share=params.head),
            "holdout_sha256": test_sha256,
            "n_users": n_users,
            "n_items": items.num_rows,
            **counts,
            "n_head": total(items["is_head"]),
            "n_tail": total(items["is_tail"]),
            "n_cold": total(items["is_cold"]),
            "head_interactions": total(items.filter(items["is_head"])["popularity"]),
        }
        artifacts.write_json(stage.output("holdout.json"), summary)
    say("split", sentence(summary))


def require_validated(stage: artifacts.StageRun) -> None:
    """Refuse tables other than those that data/validate found in order."""
    report = stage.input("validate", "report.json")
    judged = artifacts.read_manifest(report.parent)["inputs"]
    for path, sha256 in stage.inputs.items():
        if path != report.as_posix() and judged.get(path) != sha256:
            raise ValueError(f"{path} is not what data/validate judged; run `dvc repro validate`")
    if not artifacts.read_json(report)["success"]:
        raise ValueError(f"{report} says that the suite failed; correct the data and run `dvc repro validate`")


@contextmanager
def session(paths: dict[str, Path], *, spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the views `interactions` and `items`; what does not fit into memory spills below `spill`."""
    with TemporaryDirectory(dir=spill) as folder, duckdb.connect() as con:
        con.execute(f"set temp_directory = '{folder}'; set TimeZone = 'UTC'")
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


def pairs_of(con: duckdb.DuckDBPyConnection, part: str) -> pa.RecordBatchReader:
    return query(
        con,
        f"""select user_idx, item_idx, value, event_time as "timestamp" from indexed
            where part = '{part}' and user_idx is not null order by user_idx, item_idx""",
        PAIRS,
    )


def test_pairs(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """(user_id, item_id) of test in ascending order."""
    pairs = con.sql("""
        select u.user_id, c.item_id from indexed i
        join users u on i.user_idx = u.user_idx join catalogue c on i.item_idx = c.item_idx
        where i.part = 'test' order by i.user_idx, i.item_idx""")
    for batch in pairs.to_arrow_reader(ROWS):
        yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)


def count_items(con: duckdb.DuckDBPyConnection, head_share: float) -> pa.Table:
    """item_id and the columns of COUNTED for the whole catalogue, by item_idx."""
    counted = con.sql("""
        select c.item_id, cast(count(i.item_idx) as int) as popularity from catalogue c
        left join (select item_idx from indexed where part = 'train') i on c.item_idx = i.item_idx
        group by c.item_idx, c.item_id order by c.item_idx""").to_arrow_table()
    popularity = counted["popularity"].to_numpy()
    head = holdout.head_items(popularity, head_share)
    columns = [counted["popularity"], pa.array(head), pa.array(~head), pa.array(popularity == 0)]
    return pa.table([counted["item_id"], *columns], schema=pa.schema([tables.ITEMS.field("item_id"), *COUNTED]))


def with_counts(path: Path, counted: pa.Table) -> pa.RecordBatchReader:
    """The catalogue with item_idx first and the columns of COUNTED after the canonical ones."""
    file = pq.ParquetFile(path, page_checksum_verification=True)
    fields = list(file.schema_arrow)
    n = len(tables.ITEMS)
    taken = sorted({"item_idx", *COUNTED.names} & {field.name for field in fields})
    if taken:
        raise ValueError(f"{path} has a column {taken[0]!r}, which split writes itself; rename it in the source")
    schema = pa.schema([pa.field("item_idx", pa.int32(), nullable=False), *fields[:n], *COUNTED, *fields[n:]])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in file.iter_batches(ROWS):
            own = counted.slice(start, batch.num_rows).combine_chunks()
            if not own["item_id"].combine_chunks().equals(batch["item_id"]):
                raise ValueError(f"{path} is not sorted by item_id; run `dvc repro ingest --force`")
            idx = pa.array(np.arange(start, start + batch.num_rows, dtype=np.int32))
            columns = [*batch.columns[:n], *(own[name].combine_chunks() for name in COUNTED.names), *batch.columns[n:]]
            yield pa.RecordBatch.from_arrays([idx, *columns], schema=schema)
            start += batch.num_rows

    return pa.RecordBatchReader.from_batches(schema, batches())


def query(con: duckdb.DuckDBPyConnection, sql: str, schema: pa.Schema) -> pa.RecordBatchReader:
    """Rows of a query in batches of ROWS: how the engine cut them must not show in the file."""

    def batches() -> Iterator[pa.RecordBatch]:
        rest = schema.empty_table()
        for batch in con.sql(sql).to_arrow_reader(ROWS):
            rest = pa.concat_tables([rest, pa.Table.from_batches([batch]).cast(schema)])
            while rest.num_rows >= ROWS:
                yield from rest.slice(0, ROWS).combine_chunks().to_batches()
                rest = rest.slice(ROWS)
        yield from rest.combine_chunks().to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def row(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    return con.sql(sql).fetchall()[0]


def total(column: pa.ChunkedArray[Any]) -> int:
    return int(pc.sum(column).as_py() or 0)


def sentence(summary: dict[str, Any]) -> str:
    """What was split, for people."""
    how = "by hash"
    if summary["cutoffs"]:
        dates = [cutoff.removesuffix("T00:00:00+00:00") for cutoff in summary["cutoffs"]]
        how = f"train < {dates[0]} <= valid < {dates[1]} <= test"
    left_out = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in summary["left_out"].items() if n)
    return (
        f"{how}; {summary['n_train']:,} / {summary['n_valid']:,} / {summary['n_test']:,} interactions of "
        f"{summary['n_users']:,} users; head is {summary['n_head']:,} of {summary['n_items']:,} items with "
        f"{summary['head_interactions'] / summary['n_train']:.1%} of train, tail the other {summary['n_tail']:,} "
        f"({summary['n_cold']:,} cold); left out: {left_out or 'none'}"
    )


if __name__ == "__main__":
    run(main, "split")
