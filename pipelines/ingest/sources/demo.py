"""Demo source: a synthetic catalogue as two CSV files, dirty rows included."""

from __future__ import annotations

from pathlib import Path

from pipelines.ingest.canonical.ledger import Intake
from pipelines.ingest.sources import demo_catalogue, table
from pipelines.settings.ingest import Demo, Ingest, ItemColumns, Table, TableColumns, UserColumns

TABLE = Table(
    interactions=["interactions.csv"],
    delimiter=",",
    quote='"',
    columns=TableColumns(user_id="user_id", item_id="item_id", value="value", timestamp="timestamp"),
    min_value=None,
    timestamp_unit="s",
    users=[],
    user_columns=UserColumns(user_id="user_id"),
    items=["items.csv"],
    item_columns=ItemColumns(item_id="item_id", title="title"),
    text="{title}. {description}",
)


def write(params: Demo, scratch: Path) -> Path:
    """Write the demo's two CSV files, dirty rows included."""
    files = demo_catalogue.generate(**params.model_dump())
    (scratch / "interactions.csv").write_text(files.interactions, "utf-8")
    (scratch / "items.csv").write_text(files.items, "utf-8")
    return scratch


def collect(desk: Intake, params: Ingest) -> None:
    """Write the demo's files and read them like any user's table."""
    folder = write(params.demo, desk.scratch)
    table.collect(desk, folder, TABLE, until=params.until, abuse=params.abuse)
