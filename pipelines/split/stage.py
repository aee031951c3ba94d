"""Write data/split: train, valid and test without leakage, users and items with their indices, head and tail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.evaluation import holdout
from pipelines.artifacts import outputs, quarantine, tables
from pipelines.runtime.console import say
from pipelines.runtime.engine import Tables
from pipelines.settings.document import load
from pipelines.settings.engine import Engine
from pipelines.settings.split import Split
from pipelines.split import parts

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
_counted: list[pa.Field[Any]] = [  # columns that split adds to an item
    pa.field("popularity", pa.int32(), nullable=False),  # distinct users in train
    pa.field("is_head", pa.bool_(), nullable=False),
    pa.field("is_tail", pa.bool_(), nullable=False),
    pa.field("is_cold", pa.bool_(), nullable=False),  # no interaction in train
]
PAIRS, USERS, COUNTED = pa.schema(_pairs), pa.schema(_users), pa.schema(_counted)


def main() -> None:
    params, engine = load(Split), load(Engine)
    with outputs.stage("split") as stage:
        paths = {name: stage.input("ingest", f"{name}.parquet") for name in ("interactions", "items", "users")}
        paths["quarantine"] = stage.input("validate", quarantine.NAME)
        require_validated(stage)
        with parts.session(stage, paths, params.memory_limit, engine) as found:
            cutoffs = parts.choose_cutoffs(found, params)
            parts.assign_parts(found, params, cutoffs)
            counts = parts.count_parts(found)
            for part in parts.PARTS:
                tables.write(pairs_of(found, part), stage.output(f"{part}.parquet"))
            n_users = tables.write(with_columns(found, paths["users"]), stage.output("users.parquet"))
            items = count_items(found, params.head)
            tables.write(with_counts(paths["items"], items), stage.output("items.parquet"))
            test_sha256 = holdout.holdout_sha256(parts.test_pairs(found))
        tail_ids = (str(item_id) for item_id in items.filter(items["is_tail"])["item_id"].to_pylist())
        ingested = outputs.read_json(stage.input("ingest", "summary.json"))
        summary = {
            "strategy": "time" if cutoffs else "hash",
            "cutoffs": cutoffs,
            "seed": params.seed,
            "test": params.test,
            "cold_items": params.cold_items,
            "user_space": ingested["user_space"],
            "source": ingested["source"],
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
        outputs.write_json(stage.output("holdout.json"), summary)
    say("split", sentence(summary))


def require_validated(stage: outputs.StageRun) -> None:
    """Raise ValueError for tables other than those that passed in data/validate."""
    report = stage.input("validate", "report.json")
    judged = outputs.read_manifest(report.parent)["inputs"]
    for path, sha256 in stage.inputs.items():
        if Path(path).parent != report.parent and judged.get(path) != sha256:
            raise ValueError(f"{path} differs from the file that data/validate judged; run `dvc repro validate`")
    if not outputs.read_json(report)["success"]:
        raise ValueError(f"the validation in {report} failed; correct the data and run `dvc repro validate`")


def pairs_of(engine: Tables, part: str) -> pa.RecordBatchReader:
    return query(
        engine,
        f"""select user_idx, item_idx, value, event_time as "timestamp" from indexed
            where part = '{part}' and user_idx is not null order by user_idx, item_idx""",
        PAIRS,
    )


def count_items(engine: Tables, head_share: float) -> pa.Table:
    """Return item_id and the columns of COUNTED for all items, by item_idx; raises ValueError if the tail is empty."""
    counted = engine.table("""
        select c.item_id, cast(count(i.item_idx) as int) as popularity from catalogue c
        left join (select item_idx from indexed where part = 'train') i on c.item_idx = i.item_idx
        group by c.item_idx, c.item_id order by c.item_idx""")
    popularity = counted["popularity"].to_numpy()
    head = holdout.head_items(popularity, head_share)
    if head.all():
        raise ValueError(
            f"split.head is {head_share}, and only all {len(head)} items together have that share of train: no tail "
            "is left; lower it"
        )
    columns = [counted["popularity"], pa.array(head), pa.array(~head), pa.array(popularity == 0)]
    return pa.table([counted["item_id"], *columns], schema=pa.schema([tables.ITEMS.field("item_id"), *COUNTED]))


def with_counts(path: Path, counted: pa.Table) -> pa.RecordBatchReader:
    """Return the catalogue with item_idx first and the columns of COUNTED after the canonical ones."""
    file = pq.ParquetFile(path, page_checksum_verification=True)
    fields = list(file.schema_arrow)
    n = len(tables.ITEMS)
    refuse_taken(path, file.schema_arrow.names, {"item_idx", *COUNTED.names})
    schema = pa.schema([pa.field("item_idx", pa.int32(), nullable=False), *fields[:n], *COUNTED, *fields[n:]])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in file.iter_batches(tables.ROWS):
            own = counted.slice(start, batch.num_rows).combine_chunks()
            if not own["item_id"].combine_chunks().equals(batch["item_id"]):
                raise ValueError(f"{path} is not sorted by item_id; run `dvc repro ingest --force`")
            idx = pa.array(np.arange(start, start + batch.num_rows, dtype=np.int32))
            columns = [*batch.columns[:n], *(own[name].combine_chunks() for name in COUNTED.names), *batch.columns[n:]]
            yield pa.RecordBatch.from_arrays([idx, *columns], schema=schema)
            start += batch.num_rows

    return pa.RecordBatchReader.from_batches(schema, batches())


def with_columns(engine: Tables, path: Path) -> pa.RecordBatchReader:
    """Return the users by user_idx with the further columns of the user files, null for users in none of them."""
    further = list(pq.read_schema(path))[len(tables.USERS) :]
    refuse_taken(path, [field.name for field in further], set(USERS.names))
    columns = "".join(f", x{i}" for i in range(len(further)))  # aliases, since engines quote names differently
    joined = f"users u left join {engine.parquet(path)} d (user_id{columns}) on u.user_id = d.user_id"
    if further:
        n, n_known = engine.rows(f"select count(*), count(d.user_id) from {joined}")[0]
        say("split", f"{n_known:,} of {n:,} users are in the user files")
    of_users = f"select u.user_idx, u.user_id{columns} from {joined} order by u.user_idx"
    return query(engine, of_users, pa.schema([*USERS, *further]))


def refuse_taken(path: Path, names: list[str], ours: set[str]) -> None:
    """Raise ValueError if a table already has a column that split adds."""
    if taken := sorted(ours.intersection(names)):
        raise ValueError(f"{path} has a column {taken[0]!r}, a name that split uses; rename it in the source")


def query(engine: Tables, sql: str, schema: pa.Schema) -> pa.RecordBatchReader:
    """Return the rows of a query in batches of one size."""
    return tables.even(engine.batches(sql, tables.ROWS), schema)


def total(column: pa.ChunkedArray[Any]) -> int:
    return int(pc.sum(column).as_py() or 0)


def sentence(summary: dict[str, Any]) -> str:
    """Return a summary of the split as a sentence."""
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
