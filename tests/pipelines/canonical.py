"""Canonical tables small enough to reason out by hand, written as the stages before would have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from pipelines.artifacts import outputs, quarantine, tables

Row = tuple[str, str, float, datetime | None]


def day(n: float) -> datetime:
    """A moment, in days after the first of January 2024."""
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=n)


def rows(n_users: int, n_items: int, *, per_user: int = 6) -> list[Row]:
    """Users u000… with items i000…, spread over 20 days with many events each."""
    pairs = {(u, (u * k + k * k) % n_items) for u in range(n_users) for k in range(per_user)}
    return [(f"u{u:03}", f"i{i:03}", 1.0, day((u * 7 + i * 13) % 20)) for u, i in sorted(pairs)]


def item_ids(n_items: int) -> list[str]:
    return [f"i{i:03}" for i in range(n_items)]


def interactions(of: Iterable[Row], **columns: Any) -> pa.Table:
    """The canonical table of some rows; `columns` replaces whole columns, with types of their own."""
    ordered = sorted(of, key=lambda row: row[:2])
    arrays: dict[str, Any] = {name: [row[k] for row in ordered] for k, name in enumerate(tables.INTERACTIONS.names[:4])}
    arrays["n_events"] = [1] * len(ordered)
    made = pa.table(arrays, schema=pa.schema([field.with_nullable(True) for field in tables.INTERACTIONS]))
    for name, values in columns.items():
        made = made.set_column(made.schema.get_field_index(name), name, pa.array(values))
    return made


def catalogue(ids: Sequence[str], **columns: Sequence[Any]) -> pa.Table:
    arrays: dict[str, Any] = {"item_id": ids, "title": ids, "text": [f"text of {i}" for i in ids], **columns}
    return pa.table(arrays)


def write_ingest(interactions: pa.Table, items: pa.Table, users: pa.Table | None = None) -> None:
    """users: what the user files say; None where there are none."""
    with outputs.stage("ingest") as stage:
        tables.write(interactions, stage.output("interactions.parquet"))
        tables.write(items, stage.output("items.parquet"))
        outputs.write_json(stage.output("summary.json"), {"user_space": None, "source": "table"})
        tables.write(tables.USERS.empty_table() if users is None else users, stage.output("users.parquet"))


def write_validate() -> None:
    """A report that judged the present data/ingest and found it in order."""
    with outputs.stage("validate") as stage:
        for name in ("interactions", "items", "users"):
            stage.input("ingest", f"{name}.parquet")
        outputs.write_json(stage.output("report.json"), {"success": True})
        quarantine.write([], stage.output(quarantine.NAME))
