"""The newest event of those that triggered a run, in whatever order Airflow passes them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import REPO


def newest(events: Any) -> Any:
    """The function of the DAGs, whose folder is on no path here."""
    scope: dict[str, Any] = {}
    exec((REPO / "dags" / "asset_events.py").read_text("utf-8"), scope)
    return scope["newest"](events)


def event(minute: int) -> Any:
    return SimpleNamespace(timestamp=datetime(2026, 1, 1, 0, minute, tzinfo=UTC), extra={"version": f"v{minute}"})


@pytest.mark.parametrize("order", itertools.permutations((1, 2, 3)))
def test_the_newest_event_of_an_asset_wins_in_any_order(order: tuple[int, ...]) -> None:
    assert newest({"asset": [event(minute) for minute in order]}) == {"version": "v3"}


@pytest.mark.parametrize("order", itertools.permutations((1, 2, 3)))
def test_the_newest_event_of_several_assets_wins_in_any_order(order: tuple[int, ...]) -> None:
    assert newest({f"asset {minute}": [event(minute), event(0)] for minute in order}) == {"version": "v3"}


def test_a_run_that_no_event_triggered_has_none() -> None:
    assert newest({}) == {}
    assert newest({"asset": []}) == {}


def test_an_event_may_have_no_extra() -> None:
    assert newest({"asset": [SimpleNamespace(timestamp=datetime(2026, 1, 1, tzinfo=UTC), extra=None)]}) == {}
