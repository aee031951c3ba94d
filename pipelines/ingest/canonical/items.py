"""Items: the catalogue with title and text, each item once."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

import pyarrow as pa

from models.inference.event_bounds import MAX_ID
from pipelines.artifacts.tables import ITEMS
from pipelines.ingest.canonical.ledger import Check, Intake, Rows
from pipelines.runtime.sql import identifier, literal
from pipelines.settings.ingest import ItemColumns

TAKEN = ("item_id", "title", "text", "item_idx", "popularity", "is_head", "is_tail", "is_cold")  # by ingest and split
CONTROL = r"[\x00-\x1f\x7f-\x{9f}]"


def id_checks(column: str) -> list[Check]:
    """Return the checks of an id, as (reason, condition, detail) in SQL."""
    return [
        (f"empty_{column}", rf"not regexp_matches(coalesce({column}, ''), '[^\p{{Zs}}]')", f"'{column} is empty'"),
        (
            f"bad_{column}",
            rf"length({column}) > {MAX_ID} or regexp_matches({column}, '{CONTROL}')",
            f"'{column} is longer than {MAX_ID} characters or holds a control character'",
        ),
    ]


def collect(intake: Intake, files: Sequence[Rows], columns: ItemColumns, template: str) -> None:
    """Check the rows of the item files: the first of each id goes to the table `items`, the others to `rejected`."""
    mapped = (columns.item_id, columns.title)
    extra = list(dict.fromkeys(name for rows in files for name in rows.columns if name not in mapped))
    intake.judge(
        "items",
        f"""select *, row_number() over same as nth, first_value(concat('line ', line, ' of ', file)) over same as first
            from ({" union all ".join(_fields(rows, columns, template, extra) for rows in files)})
            window same as (partition by item_id order by number, line)""",
        [
            *id_checks("item_id"),
            ("duplicate_item", "nth > 1", "concat('item_id ', item_id, ' is on ', first, ' already')"),
        ],
    )
    kept = "".join(f", x{i} as {identifier(_kept(name))}" for i, name in enumerate(extra))
    intake.con.execute(f"create table items as select item_id, title, text{kept} from judged where reason is null")


def collect_from_events(intake: Intake) -> None:
    """Create the catalogue without item files: the items with events, with their ids alone."""
    intake.con.register("known_items", intake.engine.table("select distinct item_id from events"))
    intake.con.execute("create table items as select item_id, item_id as title, '' as text from known_items")
    intake.con.unregister("known_items")


def catalogue(intake: Intake) -> pa.RecordBatchReader:
    """Yield the items in the order of their ids, further columns of the source after title and text."""
    query = "from items order by item_id"
    further = list(intake.con.sql(query).to_arrow_reader(1).schema)[len(ITEMS) :]
    return intake.stream(query, pa.schema([*ITEMS, *further]))


def _fields(rows: Rows, columns: ItemColumns, template: str, extra: Sequence[str]) -> str:
    """Return a SELECT of one file's id, title, text and further columns; null if only another file has a column."""
    key = "ingest.table.item_columns"
    item_id, title = rows.id(columns.item_id, f"{key}.item_id"), rows.text(columns.title, f"{key}.title")
    further = "".join(f", {rows.columns.get(name, 'null')} as x{i}" for i, name in enumerate(extra))
    return f"""select {literal(rows.file)} as file, {rows.number} as number, line, {item_id} as item_id,
                 coalesce(nullif({tidy(title)}, ''), {item_id}) as title, {_text(rows, columns, template)} as text,
                 {rows.raw} as raw{further}
               from {rows.relation}"""


def _text(rows: Rows, columns: ItemColumns, template: str) -> str:
    """Return SQL that fills in the template and collapses white space; braces name columns, or the id and title."""
    names = {"item_id": columns.item_id, "title": columns.title} | {name: name for name in rows.columns}
    parts = []
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(
            f"ingest.table.text is {template!r}: {error}; write columns in braces, {{{{ for a brace"
        ) from None
    for text, name, _, _ in pieces:
        parts.append(literal(text))
        if name is not None:
            parts.append(f"coalesce({rows.text(names.get(name, name), 'ingest.table.text')}, '')")
    filled = tidy(f"concat({', '.join(parts)})")
    return f"replace({filled}, '. .', '.')"  # an empty column leaves an empty sentence


def tidy(text: str) -> str:
    """Return SQL of a text with its white space collapsed."""
    return rf"trim(regexp_replace({text}, '\s+', ' ', 'g'))"


def _kept(name: str) -> str:
    """Return the name of a further column; it must not collide with a canonical one."""
    return f"source_{name}" if name.lower() in TAKEN else name
