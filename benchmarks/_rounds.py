"""Processor time of several ways to do the same, in alternating rounds: other load affects all of them equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median


def medians(ways: Mapping[str, Callable[[], object]], *, rounds: int, calls: int = 1) -> dict[str, float]:
    """Return the median seconds of processor time of a call of each way, after one call to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            for _ in range(calls):
                way()
            seconds[name].append((time.process_time() - start) / calls)
    return {name: median(times) for name, times in seconds.items()}
