"""Interactions: every event is accepted, or rejected with a reason; the events of a pair become one row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.inference.event_bounds import CLOCK_SKEW, LARGEST_VALUE, YEARS
from pipelines.artifacts import outputs, tables
from pipelines.ingest.canonical import bot_filter, pseudonyms
from pipelines.ingest.canonical import partitions as canonical_partitions
from pipelines.ingest.canonical.items import id_checks
from pipelines.ingest.canonical.ledger import Check, File, Intake, Rows, verdict
from pipelines.ingest.canonical.partitions import Partition
from pipelines.ingest.formats import delimited
from pipelines.ingest.formats.delimited import literal
from pipelines.runtime.console import say
from pipelines.settings.ingest import Abuse, TableColumns

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"  # try_cast alone takes 0x10 and 1_000 as well
PLAIN_ID = "[!-~]{1,256}"  # what most ids are
WHOLE = r"-?[0-9]{1,18}"
EPOCH = r"-?[0-9]{1,18}(\.[0-9]+)?"
ISO = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|[+-]\d{2}(:?\d{2})?))?)?"
MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
WRITTEN = "format parquet, compression snappy, write_bloom_filter false"  # a partition, which nobody looks ids up in
SPARK_READS = re.compile(
    r"VARCHAR|U?(TINY|SMALL|BIG)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*|TIMESTAMP( WITH TIME ZONE)?|DATE"
)
NO_EVENTS = """select null::string as user_id, null::string as item_id, null::float as value, null::bigint as instant,
                      0 as file, 0::bigint as seq where false"""


@dataclass(frozen=True)
class Rules:
    """How the events of a source are read and judged."""

    columns: TableColumns
    named_by: str  # where the columns' names come from, {} standing for the column
    unit: str
    min_value: float | None
    until: str | None  # the first day, as ISO text, whose events are left out
    catalogue: bool  # whether the table `items` holds every item there is
    abuse: Abuse
    read: datetime | None = None  # when the file was first read; None: not known yet

    def plain(self) -> dict[str, Any]:
        """What the judgement of a file depends on, as plain values."""
        return {key: value for key, value in asdict(self).items() if key not in ("columns", "abuse")} | {
            "columns": self.columns.model_dump(),
            "read": None if self.read is None or self.columns.timestamp is None else self.read.isoformat(),
        }


def collect(intake: Intake, files: Sequence[File], rules: Rules) -> None:
    """Judge the events of all files: the view `events` holds the good ones, the table `rejected` the others."""
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
    """The partition of a file: the one of an earlier run where it still holds, else a new one."""
    digest = intake.record(file)
    rules = replace(rules, read=intake.first_read(digest))
    dialect = {"delimiter": file.dialect.delimiter, "quote": file.dialect.quote}
    name = canonical_partitions.key(digest, [file.path.suffix, file.names, dialect, rules.plain(), intake.user_space])
    for partition in canonical_partitions.find(name):
        if not rules.catalogue or knows_the_same(intake, partition):
            return partition
    return judge(intake, file, rules, name, digest)


def knows_the_same(intake: Intake, partition: Partition) -> bool:
    """Whether the catalogue of now knows the items that were known, and none of those that were not."""
    return not intake.count(
        f"""select count(*) from (
              select distinct item_id, reason from {partition.relation(intake.embedded)}
              where reason is null or reason = 'unknown_item') p
            left join items i on i.item_id = p.item_id where (i.item_id is null) = (reason is null)"""
    )


def judge(intake: Intake, file: File, rules: Rules, name: str, digest: str) -> Partition:
    """Read a file and keep what became of its rows."""
    rows = intake.open(file)
    partial = intake.scratch / name
    partial.mkdir()
    if isinstance(rows.source, Path) and _runs_on_spark(intake, rows, rules):
        read = _fill_from_spark(intake, rows, rules, rows.source, partial / "rows.parquet")
    else:
        read = _fill_from_duckdb(intake, rows, rules, partial / "rows.parquet")
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


def _fill_from_duckdb(intake: Intake, rows: Rows, rules: Rules, path: Path) -> delimited.Read:
    target = literal(str(path))
    return intake.fill(
        rows, delimited.Keep(lambda scan: _fill(intake, rows, rules, scan, target), f"read_parquet({target})")
    )


def _runs_on_spark(intake: Intake, rows: Rows, rules: Rules) -> bool:
    """Whether Spark reads all columns that count as DuckDB does; it hides files whose names start with _ or a dot."""
    if intake.engine is intake.embedded or intake.key is not None:
        return False
    types = {name: rows.types.get(name, "VARCHAR") for name in _mapped(rules)}
    dated_by_text = rules.unit == "iso" and types.get(rules.columns.timestamp or "") == "VARCHAR"
    others = [name for name, kind in types.items() if not SPARK_READS.fullmatch(kind)]
    if others or dated_by_text or Path(rows.file).name.startswith(("_", ".")):
        say("ingest", f"{rows.file} is read by DuckDB: Spark would read its columns or its name otherwise")
        return False
    return True


def _fill_from_spark(intake: Intake, rows: Rows, rules: Rules, source: Path, path: Path) -> delimited.Read:
    """Spark judges all rows; those that it refuses are judged once more by DuckDB, which says why in its words."""
    if rules.catalogue:
        intake.share("items", "select item_id from items")
    fields = ", ".join(f"{backticked(column)} as {c}" for column, c in rows.columns.items() if column in _mapped(rules))
    scan = f"(select seq, {fields} from {intake.engine.numbered(source, 'seq')})"
    intake.engine.keep("judgement", _judgement(rows, rules, scan, False, seq="", explained=False))
    accepted = "select seq, user_id, item_id, value, instant from judgement where reason is null"
    refused = intake.engine.table("select seq from judgement where reason is not null")
    intake.con.register("refused_by_spark", refused)
    again = f"(select line as seq, * exclude (line) from {rows.relation} where line in (from refused_by_spark))"
    reader = intake.con.sql(_judgement(rows, rules, again, False, seq="", explained=True)).to_arrow_reader(tables.ROWS)
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
    return delimited.Read(n_rows, delimited.NO_SHIFTS, delimited.NOTHING_REJECTED, 0, is_unfinished=False)


def _mapped(rules: Rules) -> list[str]:
    columns = rules.columns
    return [name for name in (columns.user_id, columns.item_id, columns.value, columns.timestamp) if name is not None]


def backticked(name: str) -> str:
    """A name as Spark quotes it."""
    return "`" + name.replace("`", "``") + "`"


def _fill(intake: Intake, rows: Rows, rules: Rules, scan: str, target: str) -> str:
    """SQL that writes what becomes of the rows of a scan to a parquet file."""
    hidden = intake.key is not None
    if not rules.catalogue:
        return f"copy ({_judgement(rows, rules, scan, hidden)}) to {target} ({WRITTEN})"
    # the join with the catalogue does not keep the order of rows, hence their numbers before it
    judgement = _judgement(rows, rules, "numbered", hidden, seq="rowid + 1 as seq, ")
    return f"""create or replace table numbered as select * from {scan};
               copy ({judgement}) to {target} ({WRITTEN});
               drop table numbered"""


def _judgement(
    rows: Rows, rules: Rules, source: str, hidden: bool, *, seq: str | None = None, explained: bool = True
) -> str:
    """SELECT of all rows: what is accepted of them, or the reason against them with detail and text if `explained`.

    hidden: users become pseudonyms, and no text is kept, since it names them. seq: SQL that adds such a column to the
    rows; None where they have no numbers.
    """
    checks = _checks(rules)
    known = "true"
    if rules.catalogue:
        known = "item_id in (select item_id from items)"
        checks.append(("unknown_item", "not is_known", "concat('item_id ', item_id, ' is in none of the item files')"))
    reason, detail = verdict(checks)
    reason = f"case when {_sound(rules)} then null else {reason} end"
    user_id = pseudonyms.sql("user_id") if hidden else "user_id"
    raw = "null::string" if hidden else f"case when reason is not null then {rows.raw} end"
    why = f", {detail} as detail, {raw} as raw" if explained else ""
    return f"""
        select {"" if seq is None else "seq, "}case when reason is null then {user_id} end as user_id,
          case when reason is null or reason = 'unknown_item' then item_id end as item_id,
          try_cast(number as float) as value, instant, reason{why}
        from (select *, {reason} as reason
              from (select *, {known} as is_known, {_number("value")} as number
                    from (select *, {seq or ""}{_fields(rows, rules)} from {source})))"""


def _fields(rows: Rows, rules: Rules) -> str:
    """SQL of the fields that count: ids, value and time as text, the instant in microseconds since 1970."""
    columns, unit = rules.columns, rules.unit

    def text(field: str, column: str) -> str:
        return rows.text(column, rules.named_by.format(field))

    value = "'1'" if columns.value is None else text("value", columns.value)
    time = "''" if columns.timestamp is None else text("timestamp", columns.timestamp)
    if columns.timestamp is not None and rows.types[columns.timestamp].startswith(("TIMESTAMP", "DATE")):
        unit = "iso"  # a parquet file that says so itself
    user_id = rows.id(columns.user_id, rules.named_by.format("user_id"))
    item_id = rows.id(columns.item_id, rules.named_by.format("item_id"))
    return f"""{user_id} as user_id, {item_id} as item_id, coalesce({value}, '') as value,
               coalesce({time}, '') as time, {_instant(time, unit)} as instant"""


def _number(value: str) -> str:
    """SQL of a number; null for a text that is none."""
    return f"""case when regexp_full_match({value}, '{NUMBER}') then try_cast({value} as double)
                    when regexp_full_match(trim({value}), '{NUMBER}') then try_cast(trim({value}) as double) end"""


def _instant(time: str, unit: str) -> str:
    """SQL of microseconds since 1970; null for a text that is no such time."""
    if unit == "iso":
        return f"""case when regexp_full_match(trim({time}), '{ISO}')
                   then instant_of(trim({time})) end"""
    limit = 2**62 // MICROSECONDS[unit]  # beyond it, any number is as much out of range as another
    # decimal, since a double would round the last digits of microseconds, and a bigint «1600000000.5» to a whole second
    bounded = f"greatest(least(cast({{}} as {{}}), {limit}), -{limit}) * {MICROSECONDS[unit]}"
    return f"""case when regexp_full_match({time}, '{WHOLE}') then {bounded.format(time, "bigint")}
                    when regexp_full_match(trim({time}), '{EPOCH}')
                    then cast(round({bounded.format(f"trim({time})", "decimal(30, 6)")}, 0) as bigint) end"""


def _sound(rules: Rules) -> str:
    """SQL of a condition that spares nearly all good rows the checks below: it holds for none that they refuse."""
    first, last = _bounds(rules)
    conditions = [
        f"regexp_full_match(user_id, '{PLAIN_ID}') and regexp_full_match(item_id, '{PLAIN_ID}') and is_known",
        f"number > 1e-30 and number < {LARGEST_VALUE}",
    ]
    if rules.min_value is not None:
        conditions.append(f"number >= {rules.min_value!r}::double")
    if rules.columns.timestamp is not None:
        conditions.append(f"instant >= {first} and instant < {last}")
    return " and ".join(conditions)


def _bounds(rules: Rules) -> tuple[str, str]:
    """SQL of the first instant that an event of a file may have, and of the first that is too late."""
    first, last = _years(rules.until)
    return first, last if rules.read is None else str(min(int(last), _future(rules.read)))


def _future(read: datetime) -> int:
    """The first instant that lies in the future of a file, in microseconds since 1970."""
    return (int(read.timestamp()) + CLOCK_SKEW) * 1_000_000 + 1


def _years(until: str | None) -> tuple[str, str]:
    """SQL of the first instant that an event may have, and of the first that is too late."""
    first, last = (_microseconds(date(year, 1, 1)) for year in YEARS)
    return str(first), str(last if until is None else min(last, _microseconds(date.fromisoformat(until))))


def _microseconds(day: date) -> int:
    """From 1970 to the midnight that a day starts with."""
    return (day - date(1970, 1, 1)).days * 86_400_000_000


def _checks(rules: Rules) -> list[Check]:
    """What a row may not be; the first check that holds is the reason against it."""
    unit, until = rules.unit, rules.until
    lowest = "-infinity" if rules.min_value is None else repr(rules.min_value)
    checks = [
        *id_checks("user_id"),
        *id_checks("item_id"),
        (
            "value_not_finite",
            f"abs(number) > {LARGEST_VALUE} or number is null "
            "and regexp_full_match(trim(value), '(?i)[+-]?(inf(inity)?|nan)')",
            f"concat('value is ', {_start('value')}, ', expected a finite number')",
        ),
        ("value_not_a_number", "number is null", f"concat('value is ''', {_start('value')}, ''', expected a number')"),
    ]
    if rules.columns.timestamp is not None:
        first, last = _years(None)
        expected = (
            "a date and time such as 2024-05-31T12:00:00Z" if unit == "iso" else f"a number, the {unit} since 1970"
        )
        checks += [
            (
                "timestamp_not_readable",
                "instant is null",
                f"concat('timestamp is ''', {_start('time')}, ''', expected {expected}')",
            ),
            (
                "timestamp_out_of_range",
                f"instant < {first} or instant >= {last}",
                f"concat('timestamp ', {_start('time')}, ' ({unit}) is not in the years {YEARS[0]} to {YEARS[1] - 1}')",
            ),
        ]
        if until is not None:
            late = _years(until)[1]
            checks.append(
                ("after_until", f"instant >= {late}", f"concat('timestamp ', time, ' is not before {until}')")
            )
        if rules.read is not None:  # behind after_until, which is the same on all machines
            when = f"more than a day after {rules.read:%Y-%m-%d %H:%M} UTC, when the file was first read"
            checks.append(
                (
                    "timestamp_in_future",
                    f"instant >= {_future(rules.read)}",
                    f"concat('timestamp ', {_start('time')}, ' is {when}')",
                )
            )
    return [
        *checks,
        ("below_min_value", f"number < '{lowest}'::double", f"concat('value ', value, ' is below {lowest}')"),
        ("value_not_positive", "cast(number as float) <= 0", "concat('value is ', value, ', expected more than 0')"),
    ]


def _start(text: str) -> str:
    """SQL of the beginning of a field, which is what a detail says of one that may be as long as a file."""
    return f"left({text}, 80)"
