"""SQL that judges the rows of a file of interactions: what is accepted of them, and the reason against the others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from models.inference.event_bounds import CLOCK_SKEW, LARGEST_VALUE, YEARS
from pipelines.ingest.canonical import pseudonyms
from pipelines.ingest.canonical.items import id_checks
from pipelines.ingest.canonical.ledger import Check, Rows, verdict
from pipelines.settings.ingest import Abuse, TableColumns

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"  # try_cast alone takes 0x10 and 1_000 as well


PLAIN_ID = "[!-~]{1,256}"  # what most ids are


WHOLE = r"-?[0-9]{1,18}"


EPOCH = r"-?[0-9]{1,18}(\.[0-9]+)?"


ISO = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|[+-]\d{2}(:?\d{2})?))?)?"


MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


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


def mapped(rules: Rules) -> list[str]:
    columns = rules.columns
    return [name for name in (columns.user_id, columns.item_id, columns.value, columns.timestamp) if name is not None]


def judged(
    rows: Rows, rules: Rules, source: str, hidden: bool, *, seq: str | None = None, explained: bool = True
) -> str:
    """SELECT of all rows: what is accepted of them, or the reason against them with detail and text if `explained`.

    hidden: users become pseudonyms, and no text is kept, since it names them. seq: SQL that adds such a column to the
    rows; None where they have no numbers.
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
               coalesce({time}, '') as time, {instant(time, unit)} as instant"""


def number(value: str) -> str:
    """SQL of a number; null for a text that is none."""
    return f"""case when regexp_full_match({value}, '{NUMBER}') then try_cast({value} as double)
                    when regexp_full_match(trim({value}), '{NUMBER}') then try_cast(trim({value}) as double) end"""


def instant(time: str, unit: str) -> str:
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


def sound(rules: Rules) -> str:
    """SQL of a condition that spares nearly all good rows the checks below: it holds for none that they refuse."""
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
    """SQL of the first instant that an event of a file may have, and of the first that is too late."""
    first, last = years(rules.until)
    return first, last if rules.read is None else str(min(int(last), future(rules.read)))


def future(read: datetime) -> int:
    """The first instant that lies in the future of a file, in microseconds since 1970."""
    return (int(read.timestamp()) + CLOCK_SKEW) * 1_000_000 + 1


def years(until: str | None) -> tuple[str, str]:
    """SQL of the first instant that an event may have, and of the first that is too late."""
    first, last = (microseconds(date(year, 1, 1)) for year in YEARS)
    return str(first), str(last if until is None else min(last, microseconds(date.fromisoformat(until))))


def microseconds(day: date) -> int:
    """From 1970 to the midnight that a day starts with."""
    return (day - date(1970, 1, 1)).days * 86_400_000_000


def checks_of(rules: Rules) -> list[Check]:
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
        if rules.read is not None:  # behind after_until, which is the same on all machines
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
    """SQL of the beginning of a field, which is what a detail says of one that may be as long as a file."""
    return f"left({text}, 80)"
