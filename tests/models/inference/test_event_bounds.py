"""The bounds on an event: each side of each, and equal to what they are written as elsewhere."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import numpy as np
import pytest

from models.inference import event_bounds
from models.inference.event_bounds import refusal

NOW = 1.7e9


def test_the_years_are_the_seconds() -> None:
    instants = [datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in event_bounds.YEARS]
    assert instants == [event_bounds.FIRST, event_bounds.LAST]


def test_the_spaces_are_those_of_unicode() -> None:
    spaces = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Zs"]
    assert [space for space in spaces if refusal(space, "i", None, None, now=NOW) != "bad_user_id"] == []
    assert refusal(" \u2028", "i", None, None, now=NOW) is None  # a line separator, which ingest takes as well


def test_the_values_are_what_float32_tells_from_zero_and_infinity() -> None:
    assert 0 < np.float32(event_bounds.LEAST_VALUE) <= np.float32(event_bounds.LARGEST_VALUE) < np.inf
    assert np.float32(event_bounds.LEAST_VALUE / 2) == 0


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (("u", "i", None, None), None),
        (("u", "i", 1e-45, event_bounds.FIRST), None),
        (("u", "i", 3.4e38, NOW + 86400), None),
        (("u" * 256, "0007", 1.0, NOW), None),
        (("u" * 257, "i", None, None), "bad_user_id"),
        (("", "i", None, None), "bad_user_id"),
        (("u", "a\x1bb", None, None), "bad_item_id"),
        (("u", "i\n", None, None), "bad_item_id"),
        (("u", "i", 0.0, None), "value_not_positive"),
        (("u", "i", 1e-46, None), "value_not_positive"),
        (("u", "i", 3.5e38, None), "value_not_finite"),
        (("u", "i", float("nan"), None), "value_not_finite"),
        (("u", "i", None, event_bounds.FIRST - 1), "timestamp_out_of_range"),
        (("u", "i", None, event_bounds.LAST), "timestamp_out_of_range"),
        (("u", "i", None, float("nan")), "timestamp_out_of_range"),
        (("u", "i", None, NOW + 86401), "timestamp_in_future"),
    ],
)
def test_an_event_is_refused_beyond_its_bounds_alone(
    event: tuple[str, str, float | None, float | None], reason: str | None
) -> None:
    assert refusal(*event, now=NOW) == reason
