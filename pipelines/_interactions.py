"""Interactions: every event is accepted, or rejected with a reason; the events of a pair become one row."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from pipelines._csv import literal
from pipelines._intake import Intake, Rows
from pipelines._items import id_checks
from pipelines._params import TableColumns
from pipelines._tables import INTERACTIONS

YEARS = (1990, 2100)  # fixed, so that a later run accepts the same rows; a time in a wrong unit lies outside
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"  # try_cast alone takes 0x10 and 1_000 as well
EPOCH = r"-?[0-9]{1,18}(\.[0-9]+)?"
ISO = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|[+-]\d{2}(:?\d{2})?))?)?"
MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
VALUE = {  # of a pair; ordered, so that threads cannot change the result
    "last": "arg_max(value, row(coalesce(instant, 0), file, line))",
    "max": "max(value)",
    "sum": "least(sum(value::double order by file, line), 3.4e38)",
}


def collect(
    intake: Intake,
    files: Iterable[Rows],
    columns: TableColumns,
    *,
    unit: str,
    min_value: float | None,
    until: str | None,
    catalogue: bool,
) -> None:
    """Judge the events of all files: good ones go to the table `events`, the others to `rejected`.

    until: the first day, as ISO text, whose events are left out.
    catalogue: whether the table `items` holds every item there is.
    """
    intake.con.execute(
        "create table events (user_id varchar, item_id varchar, value float, instant bigint, file integer, line bigint)"
    )
    checks = _checks(unit, min_value, until, timestamps=columns.timestamp is not None)
    if catalogue:
        checks.append(("unknown_item", "not is_known", "concat('item_id ', item_id, ' is in none of the item files')"))
    known = "item_id in (select item_id from items)" if catalogue else "true"
    for rows in files:
        intake.judge(
            "interactions",
            f"""select *, {known} as is_known,
                  case when regexp_full_match(trim(value), '{NUMBER}')
                    then try_cast(trim(value) as double) end as number
                from ({_fields(rows, columns, unit)})""",
            checks,
        )
        intake.con.execute(
            f"""insert into events select user_id, item_id, cast(number as float), instant, {rows.number}, line
                from judged where reason is null"""
        )
        intake.forget(rows)


def merged(intake: Intake, duplicates: str) -> pa.RecordBatchReader:
    """One row per user and item, in their order: value by the rule, the last timestamp, how many events."""
    return intake.stream(
        f"""select user_id, item_id, cast({VALUE[duplicates]} as float), max(instant), cast(count(*) as integer)
            from events group by user_id, item_id order by user_id, item_id""",
        INTERACTIONS,
    )


def _fields(rows: Rows, columns: TableColumns, unit: str) -> str:
    """SELECT of the fields that count: ids, value and time as text, the instant in microseconds since 1970."""
    key = "ingest.table.columns"
    value = "'1'" if columns.value is None else rows.text(columns.value, f"{key}.value")
    time = "''" if columns.timestamp is None else rows.text(columns.timestamp, f"{key}.timestamp")
    if columns.timestamp is not None and rows.types[columns.timestamp].startswith(("TIMESTAMP", "DATE")):
        unit = "iso"  # a parquet file that says so itself
    return f"""select {literal(rows.file)} as file, line, {rows.id(columns.user_id, f"{key}.user_id")} as user_id,
                 {rows.id(columns.item_id, f"{key}.item_id")} as item_id, coalesce({value}, '') as value,
                 coalesce({time}, '') as time, {_instant(time, unit)} as instant,
                 {rows.raw} as raw
               from {rows.relation}"""


def _instant(time: str, unit: str) -> str:
    """SQL of microseconds since 1970; null for a text that is no such time."""
    if unit == "iso":
        return f"""case when regexp_full_match(trim({time}), '{ISO}')
                   then epoch_us(try_cast(trim({time}) as timestamptz)) end"""
    limit = 2**62 // MICROSECONDS[unit]  # beyond it, any number is as much out of range as another
    # decimal, since a double would round the last digits of microseconds, and a bigint «1600000000.5» to a whole second
    return f"""case when regexp_full_match(trim({time}), '{EPOCH}')
               then cast(greatest(least(cast(trim({time}) as decimal(30, 6)), {limit}), -{limit}) * {MICROSECONDS[unit]}
                         as bigint) end"""


def _checks(unit: str, min_value: float | None, until: str | None, *, timestamps: bool) -> list[tuple[str, str, str]]:
    """(reason, condition, detail) in SQL; the first that holds is the reason of a row."""
    lowest = "-infinity" if min_value is None else repr(min_value)
    checks = [
        *id_checks("user_id"),
        *id_checks("item_id"),
        (
            "value_not_finite",
            "abs(number) > 3.4e38 or number is null and regexp_full_match(trim(value), '(?i)[+-]?(inf(inity)?|nan)')",
            f"concat('value is ', {_start('value')}, ', expected a finite number')",
        ),
        ("value_not_a_number", "number is null", f"concat('value is ''', {_start('value')}, ''', expected a number')"),
    ]
    if timestamps:
        first, last = (f"epoch_us(timestamptz '{year}-01-01 00:00:00+00')" for year in YEARS)
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
            late = f"instant >= epoch_us(timestamptz '{until} 00:00:00+00')"
            checks.append(("after_until", late, f"concat('timestamp ', time, ' is not before {until}')"))
    return [
        *checks,
        ("below_min_value", f"number < '{lowest}'::double", f"concat('value ', value, ' is below {lowest}')"),
        ("value_not_positive", "cast(number as float) <= 0", "concat('value is ', value, ', expected more than 0')"),
    ]


def _start(text: str) -> str:
    """SQL of the beginning of a field, which is what a detail says of one that may be as long as a file."""
    return f"left({text}, 80)"
