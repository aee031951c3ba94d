"""Bounds on an event, shared by the service that accepts it and by ingest, which reads it for training.

An event that one accepts and the other rejects would stop a later run, or be lost silently.
"""

from __future__ import annotations

import math
import re

MAX_ID = 256  # characters
CONTROL = r"\x00-\x1f\x7f-\x9f"
SPACES = r"\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"  # the category Zs, not available by name in all engines
ID = rf"^[^{CONTROL}]*[^{CONTROL}{SPACES}][^{CONTROL}]*$"  # not blank, without control characters

YEARS = (1990, 2100)  # a time in a wrong unit is outside
FIRST, LAST = 631152000, 4102444800  # the same in seconds since 1970; LAST is exclusive
CLOCK_SKEW = 86400  # seconds that an event may be in the future: clocks are wrong, local times are sent as UTC

LEAST_VALUE, LARGEST_VALUE = 1e-45, 3.4e38  # distinct from 0 and infinity in float32

_ID = re.compile(ID)


def refusal(user_id: str, item_id: str, value: float | None, timestamp: float | None, *, now: float) -> str | None:
    """Return the reason to reject an event, by ingest's names; None for a valid one. Times in seconds since 1970.

    now: arrival time of the event.
    """
    for name, text in (("user_id", user_id), ("item_id", item_id)):
        if len(text) > MAX_ID or not _ID.fullmatch(text):
            return f"bad_{name}"
    if value is not None and not math.isfinite(value):
        return "value_not_finite"
    if value is not None and not LEAST_VALUE <= value <= LARGEST_VALUE:
        return "value_not_positive" if value < LEAST_VALUE else "value_not_finite"
    if timestamp is None:
        return None
    if not FIRST <= timestamp < LAST:
        return "timestamp_out_of_range"
    return "timestamp_in_future" if timestamp > now + CLOCK_SKEW else None
