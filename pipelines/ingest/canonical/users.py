"""Users: the attributes of users in the source, each user once."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipelines.artifacts import tables
from pipelines.ingest.canonical import pseudonyms
from pipelines.ingest.canonical.items import id_checks
from pipelines.ingest.canonical.ledger import Intake, Rows
from pipelines.runtime.sql import identifier, literal
from pipelines.settings.ingest import UserColumns

TAKEN = ("user_id", "user_idx", "group", "history")  # by ingest, split and evaluate


def collect(intake: Intake, files: Sequence[Rows], columns: UserColumns) -> None:
    """Check the rows of the user files: the first of each id goes to the table `users`, the others to `rejected`.

    Without user files the table is empty.
    """
    if not files:
        intake.con.execute("create table users (user_id varchar)")
        return
    extra = list(dict.fromkeys(name for rows in files for name in rows.columns if name != columns.user_id))
    kept = distinct([f"source_{name}" if name.lower() in TAKEN else name for name in extra])
    intake.judge(
        "users",
        f"""select *, row_number() over same as nth, first_value(concat('line ', line, ' of ', file)) over same as first
            from ({" union all ".join(_fields(rows, columns, extra) for rows in files)})
            window same as (partition by user_id order by number, line)""",
        [
            *id_checks("user_id"),
            # without the id, which must stay hidden if users have pseudonyms
            ("duplicate_user", "nth > 1", "concat('the same user_id is on ', first, ' already')"),
        ],
    )
    user_id = pseudonyms.sql("user_id") if intake.key is not None else "user_id"
    further = "".join(f", x{i} as {identifier(name)}" for i, name in enumerate(kept))
    intake.con.execute(f"create table users as select {user_id} as user_id{further} from judged where reason is null")


def table(intake: Intake) -> pa.RecordBatchReader:
    """Yield the users in the order of their ids, with further columns of the source as text."""
    query = "from users order by user_id"
    further = intake.con.sql(query).columns[len(tables.USERS) :]
    return intake.stream(query, pa.schema([*tables.USERS, *(pa.field(name, pa.string()) for name in further)]))


def distinct(names: list[str]) -> list[str]:
    """Return the names of further columns; raises ValueError if two differ in case alone, as SQL ignores case."""
    folded = [name.casefold() for name in names]
    if twice := [name for name in names if folded.count(name.casefold()) > 1]:
        raise ValueError(
            f"the user files have the columns {twice[0]!r} and {twice[1]!r}, expected names that differ in more than "
            "case, also with the prefix source_ before a reserved name; rename either"
        )
    return names


def _fields(rows: Rows, columns: UserColumns, extra: Sequence[str]) -> str:
    """Return a SELECT of one file's id and further columns; null if only another file has a column."""
    key = "ingest.table.user_columns.user_id"
    further = "".join(
        f", {rows.text(name, key) if name in rows.columns else 'null::string'} as x{i}" for i, name in enumerate(extra)
    )
    return f"""select {literal(rows.file)} as file, {rows.number} as number, line,
                 {rows.id(columns.user_id, key)} as user_id, {rows.raw} as raw{further}
               from {rows.relation}"""
