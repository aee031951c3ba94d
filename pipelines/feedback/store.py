"""Read access to the store of feedback events that the service writes (bento/feedback/store.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from models.inference import feedback_event
from pipelines.serve import memory

VARIABLE = "LONGTAIL_FEEDBACK_DB"
COLUMNS: dict[str, pa.DataType] = {
    "seq": pa.int64(),
    "user_id": pa.string(),
    "item_id": pa.string(),
    "value": pa.float64(),
    "timestamp": pa.timestamp("us", "UTC"),
    "received": pa.float64(),  # seconds since 1970
}
STORE = sa.table(feedback_event.STORE, sa.column("store_id"))
EVENTS = sa.table(feedback_event.EVENTS, *map(sa.column, ("seq", *feedback_event.FIELDS, "received")))


@dataclass(frozen=True)
class Batch:
    """Events after a number: the store's id, the highest number, and the positive events, by COLUMNS."""

    store_id: str
    last: int
    events: pa.Table


def url() -> sa.URL:
    """Return the URL of the configured store, or of this checkout's own store."""
    return sa.make_url(os.environ.get(VARIABLE) or memory.feedback_url())


@contextmanager
def connected() -> Iterator[sa.Connection | None]:
    """Yield a connection in a transaction, None if there is no store; raises ValueError if it cannot be read."""
    address = url()
    shown = address.render_as_string(hide_password=True)
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file():
        yield None
        return
    engine = sa.create_engine(address)
    try:
        with engine.begin() as con:
            yield con if sa.inspect(con).has_table(EVENTS.name) else None
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ValueError(f"the feedback store {shown} cannot be read ({reason}); check {VARIABLE}") from None
    finally:
        engine.dispose()


def store_id() -> str | None:
    """Return the id of the store; None if there is no store."""
    with connected() as con:
        return None if con is None else str(con.execute(sa.select(STORE.c.store_id)).scalar_one())


def read(after: int) -> Batch | None:
    """Return the events after a number; None if there is no store."""
    with connected() as con:
        if con is None:
            return None
        if con.dialect.name == "postgresql":
            # wait for inserts under way: their numbers are below `last`, and no later export would read them
            con.execute(sa.text(f"lock table {EVENTS.name} in share mode"))
        last = con.execute(sa.select(sa.func.max(EVENTS.c.seq))).scalar() or 0
        rows = con.execute(positive(after, last)).all()
        name = con.execute(sa.select(STORE.c.store_id)).scalar_one()
    seq, user_id, item_id, value, at, received = zip(*rows, strict=True) if rows else ((),) * 6
    micros = [microseconds(seconds) for seconds in at]
    table = pa.table([seq, user_id, item_id, value, micros, received], schema=pa.schema(COLUMNS))
    return Batch(str(name), int(last), table)


def positive(after: int, last: int) -> sa.Select[Any]:
    """Return the query of the positive events in a range of numbers, in the order of COLUMNS."""
    c = EVENTS.c
    at = sa.func.coalesce(c.timestamp, c.received)
    query = sa.select(c.seq, c.user_id, c.item_id, c.value, at, c.received)
    return query.where(c.seq > after, c.seq <= last, c.kind.in_(feedback_event.POSITIVE)).order_by(c.seq)


def microseconds(seconds: float) -> int | None:
    """Return a time in microseconds; None if it is out of range, so that the export skips it."""
    return round(seconds * 1e6) if abs(seconds) < 1e12 else None


def count(user_id: str) -> int:
    """Return the number of a user's events."""
    with connected() as con:
        if con is None:
            return 0
        query = sa.select(sa.func.count()).select_from(EVENTS).where(EVENTS.c.user_id == user_id)
        return int(con.execute(query).scalar_one())


def remove(user_id: str) -> None:
    """Delete the events of a user, and in SQLite overwrite their bytes."""
    with connected() as con:
        if con is None:
            return
        is_sqlite = con.dialect.name == "sqlite"
        if is_sqlite:
            con.execute(sa.text("pragma secure_delete = on"))
        con.execute(sa.delete(EVENTS).where(EVENTS.c.user_id == user_id))
    with connected() as con:
        if con is not None and is_sqlite:
            con.execute(sa.text("pragma wal_checkpoint(truncate)"))  # the log has the old pages
