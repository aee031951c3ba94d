"""Interactions: accept every event, or reject it with a reason; merge the events of a pair into one row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts import outputs, tables
from pipelines.ingest.canonical import bot_filter, judgement
from pipelines.ingest.canonical import partitions as canonical_partitions
from pipelines.ingest.canonical.judgement import Rules
from pipelines.ingest.canonical.ledger import Intake, Rows
from pipelines.ingest.canonical.partitions import Partition
from pipelines.ingest.formats.format import NO_SHIFTS, NOTHING_REJECTED, File, Keep, Read
from pipelines.runtime.console import say
from pipelines.runtime.sql import backticked, literal

WRITTEN = "format parquet, compression snappy, write_bloom_filter false"  # of partitions: never searched by id
SPARK_READS = re.compile(
    r"VARCHAR|U?(TINY|SMALL|BIG)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*|TIMESTAMP( WITH TIME ZONE)?|DATE"
)
NO_EVENTS = """select null::string as user_id, null::string as item_id, null::float as value, null::bigint as instant,
                      0 as file, 0::bigint as seq where false"""


def collect(intake: Intake, files: Sequence[File], rules: Rules) -> None:
    """Check the events of all files: accepted ones go to the view `events`, the others to the table `rejected`."""
    partitions = []
    for file in files:
        partition = judged(intake, file, rules)
        account = partition.account
        intake.account_file("interactions", file.name, account["read"], account["blank_lines"], account["unfinished"])
        intake.reject("interactions", file.name, partition.broken())
        if account["n_rejected"]:
            intake.con.execute(
                f"""insert into rejected select 'interactions', {literal(file.name)}, line, reason, detail, raw
                    from {partition.numbered(intake.con)} where reason is not null"""
            )
        partitions.append(partition)
    for engine in (intake.embedded, intake.engine):
        events = [
            f"""select user_id, item_id, value, instant, {number} as file, seq
                from {partition.relation(engine)} where reason is null"""
            for number, partition in enumerate(partitions)
        ]
        engine.view("judged_events", " union all ".join(events) or NO_EVENTS)
        engine.view("events", "select * from judged_events")
    canonical_partitions.prune(partitions)
    if not bot_filter.leave_out(intake, rules.abuse):
        return
    intake.share("left_out", "select file, seq from left_out", as_name="without")
    intake.engine.view(
        "events",
        """select * from judged_events e
           where not exists (select 1 from without l where e.file = l.file and e.seq = l.seq)""",
    )
    for number, (file, partition) in enumerate(zip(files, partitions, strict=True)):
        rows = partition.with_lines(intake.con, f"(select * exclude (file) from left_out where file = {number})")
        intake.con.execute(
            f"""insert into rejected select 'interactions', {literal(file.name)}, line, reason, detail,
                  concat_ws(',', user_id, item_id, value, make_timestamp(instant))
                from {rows}"""
        )


def judged(intake: Intake, file: File, rules: Rules) -> Partition:
    """Return the partition of a file: that of an earlier run if it is still valid, else a new one."""
    digest = intake.record(file)
    rules = replace(rules, read=intake.first_read(digest))
    dialect = {"delimiter": file.dialect.delimiter, "quote": file.dialect.quote}
    name = canonical_partitions.key(digest, [file.path.suffix, file.names, dialect, rules.plain(), intake.user_space])
    for partition in canonical_partitions.find(name):
        if not rules.catalogue or knows_the_same(intake, partition):
            return partition
    return judge(intake, file, rules, name, digest)


def knows_the_same(intake: Intake, partition: Partition) -> bool:
    """Return whether the present catalogue has the items that were known then, and none of those that were not."""
    return not intake.count(
        f"""select count(*) from (
              select distinct item_id, reason from {partition.relation(intake.embedded)}
              where reason is null or reason = 'unknown_item') p
            left join items i on i.item_id = p.item_id where (i.item_id is null) = (reason is null)"""
    )


def judge(intake: Intake, file: File, rules: Rules, name: str, digest: str) -> Partition:
    """Read a file and store the result for each of its rows."""
    rows = intake.open(file)
    partial = intake.scratch / name
    partial.mkdir()
    if rows.opened.parquet and runs_on_spark(intake, rows, rules):
        read = fill_from_spark(intake, rows, rules, rows.opened.parquet, partial / "rows.parquet")
    else:
        read = fill_from_duckdb(intake, rows, rules, partial / "rows.parquet")
    target = literal(str(partial / "rows.parquet"))
    n_rejected = intake.count(f"select count(reason) from read_parquet({target})")
    tables.write(intake.shown(read.rejected), partial / "broken.parquet")
    tables.write(read.shifts, partial / "lines.parquet")
    account = {
        "read": read.n_rows + read.rejected.num_rows,
        "n_rejected": n_rejected,
        "blank_lines": read.blank_lines,
        "unfinished": read.is_unfinished,
    }
    outputs.write_json(partial / "account.json", account)
    return canonical_partitions.publish(partial, name, {"sha256": digest})


def fill_from_duckdb(intake: Intake, rows: Rows, rules: Rules, path: Path) -> Read:
    target = literal(str(path))
    return rows.opened.fill(Keep(lambda scan: fill(intake, rows, rules, scan, target), f"read_parquet({target})"))


def runs_on_spark(intake: Intake, rows: Rows, rules: Rules) -> bool:
    """Return whether Spark reads all columns in use as DuckDB does; it ignores files named with a leading _ or dot."""
    if intake.engine is intake.embedded or intake.key is not None:
        return False
    types = {name: rows.types.get(name, "VARCHAR") for name in judgement.mapped(rules)}
    dated_by_text = rules.unit == "iso" and types.get(rules.columns.timestamp or "") == "VARCHAR"
    others = [name for name, kind in types.items() if not SPARK_READS.fullmatch(kind)]
    if others or dated_by_text or Path(rows.file).name.startswith(("_", ".")):
        say("ingest", f"{rows.file} is read by DuckDB: Spark cannot read its name or its column types the same way")
        return False
    return True


def fill_from_spark(intake: Intake, rows: Rows, rules: Rules, source: Path, path: Path) -> Read:
    """Check all rows with Spark; DuckDB checks the rejected ones again and gives the reasons in its own wording."""
    if rules.catalogue:
        intake.share("items", "select item_id from items")
    fields = ", ".join(
        f"{backticked(column)} as {c}" for column, c in rows.columns.items() if column in judgement.mapped(rules)
    )
    scan = f"(select seq, {fields} from {intake.engine.numbered(source, 'seq')})"
    intake.engine.keep("judgement", judgement.judged(rows, rules, scan, False, seq="", explained=False))
    accepted = "select seq, user_id, item_id, value, instant from judgement where reason is null"
    refused = intake.engine.table("select seq from judgement where reason is not null")
    intake.con.register("refused_by_spark", refused)
    again = f"(select line as seq, * exclude (line) from {rows.relation} where line in (from refused_by_spark))"
    reader = intake.con.sql(judgement.judged(rows, rules, again, False, seq="", explained=True)).to_arrow_reader(
        tables.ROWS
    )
    n_rows = 0
    with pq.ParquetWriter(path, reader.schema, compression="snappy") as writer:
        for batch in intake.engine.batches(accepted, tables.ROWS):
            nulls = [pa.nulls(batch.num_rows, pa.string())] * 3  # reason, detail, raw
            writer.write_table(pa.table([*batch.columns, *nulls], names=reader.schema.names).cast(reader.schema))
            n_rows += batch.num_rows
        for batch in reader:
            writer.write_batch(batch)
            n_rows += batch.num_rows
    intake.con.unregister("refused_by_spark")
    held = pq.read_metadata(source).num_rows
    if n_rows != held:
        raise ValueError(f"Spark read {n_rows:,} of the {held:,} rows of {rows.file}; set engine.name to duckdb")
    return Read(n_rows, NO_SHIFTS, NOTHING_REJECTED, 0, is_unfinished=False)


def fill(intake: Intake, rows: Rows, rules: Rules, scan: str, target: str) -> str:
    """Return SQL that writes the checked rows of a scan to a parquet file."""
    hidden = intake.key is not None
    if not rules.catalogue:
        return f"copy ({judgement.judged(rows, rules, scan, hidden)}) to {target} ({WRITTEN})"
    # the join with the catalogue does not keep the order of rows, so they are numbered before it
    accepted = judgement.judged(rows, rules, "numbered", hidden, seq="rowid + 1 as seq, ")
    return f"""create or replace table numbered as select * from {scan};
               copy ({accepted}) to {target} ({WRITTEN});
               drop table numbered"""
