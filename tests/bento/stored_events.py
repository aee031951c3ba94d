"""The events of a feedback store, read without the code that writes them."""

from __future__ import annotations

import sqlalchemy as sa

from bento.feedback.store import EVENTS, Events
from models.inference.feedback_event import FIELDS, Event


def numbered(events: Events) -> list[tuple[int, Event]]:
    """All events with their numbers, in order."""
    columns = (EVENTS.c.seq, *(EVENTS.c[name] for name in FIELDS))
    with events.engine.connect() as con:
        return [(seq, Event(*row)) for seq, *row in con.execute(sa.select(*columns).order_by(EVENTS.c.seq))]


def stored(events: Events) -> list[Event]:
    return [event for _, event in numbered(events)]
