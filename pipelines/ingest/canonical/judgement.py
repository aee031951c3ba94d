"""SQL that checks the rows of a file of interactions: accepted rows, and the reason for each rejection."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from models.inference.event_bounds import CLOCK_SKEW, LARGEST_VALUE, YEARS
from pipelines.ingest.canonical import pseudonyms
from pipelines.ingest.canonical.items import id_checks
from pipelines.ingest.canonical.ledger import Check, Rows, verdict
from pipelines.settings.ingest import Abuse, TableColumns

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"  # try_cast alone also accepts 0x10 and 1_000


PLAIN_ID = "[!-~]{1,256}"  # matches most ids


WHOLE = r"-?[0-9]{1,18}"


EPOCH = r"-?[0-9]{1,18}(\.[0-9]+)?"


ISO = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|[+-]\d{2}(:?\d{2})?))?)?"


MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


@dataclass(frozen=True)
class Rules:
    """Settings for reading and checking the events of a source."""

    columns: TableColumns
    named_by: str  # origin of the columns' names, {} being the column
    unit: str
    min_value: float | None
    until: str | None  # ISO date; events from this day on are left out
    catalogue: bool  # whether the table `items` is complete
    abuse: Abuse
    read: datetime | None = None  # when the file was first read; None: not known yet

    def plain(self) -> dict[str, Any]:
        """Return everything that the result for a file depends on, as plain values."""
        return {key: value for key, value in asdict(self).items() if key not in ("columns", "abuse")} | {
            "columns": self.columns.model_dump(),
            "read": None if self.read is None or self.columns.timestamp is None else self.read.isoformat(),
        }


def mapped(rules: Rules) -> list[str]:
    columns = rules.columns
    return [name for name in (columns.user_id, columns.item_id, columns.value, columns.timestamp) if name is not None]


def judged(
    rows: Rows, rules: Rules, source: str, hidden: bool, *, seq: str | None = None, explained: bool = True
) -> str:
    """Return a SELECT of all rows: their accepted values, or the reason with detail and text if `explained`.

    hidden: users become pseudonyms, and no text is kept, since it contains their ids. seq: SQL that adds such a column
    to the rows; None if they have no numbers.
    """
    checks = checks_of(rules)
    known = "true"
    if rules.catalogue:
        known = "item_id in (select item_id from items)"
        checks.append(("unknown_item", "not is_known", "concat('item_id ', item_id, ' is in none of the item files')"))
    reason, detail = verdict(checks)
    reason = f"case when {sound(rules)} then null else {reason} end"
    user_id = pseudonyms.sql("user_id") if hidden else "user_id"
    raw = "null::string" if hidden else f"case when reason is not null then {rows.raw} end"
    why = f", {detail} as detail, {raw} as raw" if explained else ""
    return f"""
        select {"" if seq is None else "seq, "}case when reason is null then {user_id} end as user_id,
          case when reason is null or reason = 'unknown_item' then item_id end as item_id,
          try_cast(number as float) as value, instant, reason{why}
        from (select *, {reason} as reason
              from (select *, {known} as is_known, {number("value")} as number
                    from (select *, {seq or ""}{fields(rows, rules)} from {source})))"""


def fields(rows: Rows, rules: Rules) -> str:
    """Return SQL of the fields in use: ids, value and time as text, the instant in microseconds since 1970."""
    columns, unit = rules.columns, rules.unit

    def text(field: str, column: str) -> str:
        return rows.text(column, rules.named_by.format(field))

    value = "'1'" if columns.value is None else text("value", columns.value)
    time = "''" if columns.timestamp is None else text("timestamp", columns.timestamp)
    if columns.timestamp is not None and rows.types[columns.timestamp].startswith(("TIMESTAMP", "DATE")):
        unit = "iso"  # a parquet file with a time type
    user_id = rows.id(columns.user_id, rules.named_by.format("user_id"))
    item_id = rows.id(columns.item_id, rules.named_by.format("item_id"))
    return f"""{user_id} as user_id, {item_id} as item_id, coalesce({value}, '') as value,
               coalesce({time}, '') as time, {instant(time, unit)} as instant"""


def number(value: str) -> str:
    """Return SQL of a number; null for a text that is not a number."""
    return f"""case when regexp_full_match({value}, '{NUMBER}') then try_cast({value} as double)
                    when regexp_full_match(trim({value}), '{NUMBER}') then try_cast(trim({value}) as double) end"""


def instant(time: str, unit: str) -> str:
    """Return SQL of microseconds since 1970; null for a text that is not a valid time."""
    if unit == "iso":
        return f"""case when regexp_full_match(trim({time}), '{ISO}')
                   then instant_of(trim({time})) end"""
    limit = 2**62 // MICROSECONDS[unit]  # all numbers beyond it are equally out of range
    # decimal, since a double would round the last digits of microseconds, and a bigint "1600000000.5" to a whole second
    bounded = f"greatest(least(cast({{}} as {{}}), {limit}), -{limit}) * {MICROSECONDS[unit]}"
    return f"""case when regexp_full_match({time}, '{WHOLE}') then {bounded.format(time, "bigint")}
                    when regexp_full_match(trim({time}), '{EPOCH}')
                    then cast(round({bounded.format(f"trim({time})", "decimal(30, 6)")}, 0) as bigint) end"""


def sound(rules: Rules) -> str:
    """Return SQL of a fast condition that lets most good rows skip the checks; false for every row they reject."""
    first, last = bounds(rules)
    conditions = [
        f"regexp_full_match(user_id, '{PLAIN_ID}') and regexp_full_match(item_id, '{PLAIN_ID}') and is_known",
        f"number > 1e-30 and number < {LARGEST_VALUE}",
    ]
    if rules.min_value is not None:
        conditions.append(f"number >= {rules.min_value!r}::double")
    if rules.columns.timestamp is not None:
        conditions.append(f"instant >= {first} and instant < {last}")
    return " and ".join(conditions)


def bounds(rules: Rules) -> tuple[str, str]:
    """Return SQL of the first valid instant of an event of a file, and of the first that is too late."""
    first, last = years(rules.until)
    return first, last if rules.read is None else str(min(int(last), future(rules.read)))


def future(read: datetime) -> int:
    """Return the first instant that lies in the future of a file, in microseconds since 1970."""
    return (int(read.timestamp()) + CLOCK_SKEW) * 1_000_000 + 1


def years(until: str | None) -> tuple[str, str]:
    """Return SQL of the first valid instant of an event, and of the first that is too late."""
    first, last = (microseconds(date(year, 1, 1)) for year in YEARS)
    return str(first), str(last if until is None else min(last, microseconds(date.fromisoformat(until))))


def microseconds(day: date) -> int:
    """Return the time from 1970 to the start of a day."""
    return (day - date(1970, 1, 1)).days * 86_400_000_000


def checks_of(rules: Rules) -> list[Check]:
    """Return the checks of a row; the first one that holds is the reason for its rejection."""
    unit, until = rules.unit, rules.until
    lowest = "-infinity" if rules.min_value is None else repr(rules.min_value)
    checks = [
        *id_checks("user_id"),
        *id_checks("item_id"),
        (
            "value_not_finite",
            f"abs(number) > {LARGEST_VALUE} or number is null "
            "and regexp_full_match(trim(value), '(?i)[+-]?(inf(inity)?|nan)')",
            f"concat('value is ', {start('value')}, ', expected a finite number')",
        ),
        ("value_not_a_number", "number is null", f"concat('value is ''', {start('value')}, ''', expected a number')"),
    ]
    if rules.columns.timestamp is not None:
        first, last = years(None)
        expected = (
            "a date and time such as 2024-05-31T12:00:00Z" if unit == "iso" else f"a number, the {unit} since 1970"
        )
        checks += [
            (
                "timestamp_not_readable",
                "instant is null",
                f"concat('timestamp is ''', {start('time')}, ''', expected {expected}')",
            ),
            (
                "timestamp_out_of_range",
                f"instant < {first} or instant >= {last}",
                f"concat('timestamp ', {start('time')}, ' ({unit}) is not in the years {YEARS[0]} to {YEARS[1] - 1}')",
            ),
        ]
        if until is not None:
            late = years(until)[1]
            checks.append(
                ("after_until", f"instant >= {late}", f"concat('timestamp ', time, ' is not before {until}')")
            )
        if rules.read is not None:  # after after_until, which is the same on all machines
            when = f"more than a day after {rules.read:%Y-%m-%d %H:%M} UTC, when the file was first read"
            checks.append(
                (
                    "timestamp_in_future",
                    f"instant >= {future(rules.read)}",
                    f"concat('timestamp ', {start('time')}, ' is {when}')",
                )
            )
    return [
        *checks,
        ("below_min_value", f"number < '{lowest}'::double", f"concat('value ', value, ' is below {lowest}')"),
        ("value_not_positive", "cast(number as float) <= 0", "concat('value is ', value, ', expected more than 0')"),
    ]


def start(text: str) -> str:
    """Return SQL of the start of a field, for a detail; a field may be as long as a file."""
    return f"left({text}, 80)"
