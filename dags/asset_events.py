"""Events of assets that triggered a run.

Airflow passes them by asset, in no order of time, and all that came while the DAG was paused or busy trigger one run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def newest(events: Mapping[Any, Collection[Any]]) -> dict[str, Any]:
    """Return the extra of the newest event of all assets; empty if no event triggered the run."""
    found = [event for of_asset in events.values() for event in of_asset]
    return dict(max(found, key=lambda event: event.timestamp).extra or {}) if found else {}
