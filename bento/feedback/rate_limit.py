"""A rate limit per client: a token bucket per address, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

CLIENTS = 10_000  # remembered; the least recently active are dropped


class RateLimit:
    """Token buckets: `per_second` tokens flow into each client's bucket, up to `burst`."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second, self.burst, self.clock = per_second, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (tokens, time)

    def wait(self, client: str, tokens: int) -> float:
        """Take tokens and return 0; if there are too few, return the seconds until there are enough."""
        now = self.clock()
        left, then = self._buckets.pop(client, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.per_second)
        # a request for more than `burst` passes once the bucket is full, and leaves a debt
        missing = min(tokens, self.burst) - left
        self._buckets[client] = (left if missing > 0 else left - tokens, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return max(missing, 0.0) / self.per_second
