"""Feedback events and the tables that store them, by name: for the service that writes, and the exports that read.

A field of `Event` is a column of the table; one that was added later may be None, since older events lack it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Kind = Literal["impression", "click", "like", "purchase"]
POSITIVE = ("click", "like", "purchase")  # an impression does not show interest


@dataclass(frozen=True)
class Event:
    """An event as a client reports it; the client chooses `event_id`, and repeats it in a retry."""

    event_id: str
    user_id: str
    item_id: str
    kind: Kind
    value: float | None = None
    timestamp: float | None = None  # seconds since 1970


FIELDS = tuple(field.name for field in fields(Event))
EVENTS = "longtail_events"  # table of FIELDS, `seq`, the number of an event, and `received`, seconds since 1970
STORE = "longtail_store"  # table of one row with the `store_id`
