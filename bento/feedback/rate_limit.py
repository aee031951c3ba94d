"""A limit on what one client may send: a token bucket per address, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

CLIENTS = 10_000  # that are remembered; whoever was silent for longest is forgotten first


class RateLimit:
    """`per_second` tokens flow into each client's bucket, which holds `burst` of them."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second, self.burst, self.clock = per_second, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> tokens, at what time

    def wait(self, client: str, tokens: int) -> float:
        """Take tokens; 0, or where there are too few the seconds after which there would be enough."""
        now = self.clock()
        left, then = self._buckets.pop(client, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.per_second)
        # who asks for more than a bucket holds gets it once the bucket is full, and then owes the rest
        missing = min(tokens, self.burst) - left
        self._buckets[client] = (left if missing > 0 else left - tokens, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return max(missing, 0.0) / self.per_second
