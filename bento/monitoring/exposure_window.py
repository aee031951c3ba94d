"""The lists served last by all workers of a server, and their exposure of the tail, to compare with the gate's.

Each worker writes its lists into a ring buffer in a file that all workers map, so that any of them can report on all.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.inference.candidates import Bools, Indices

K = 10  # leading items of a list that count: the gate judges lists of 10
SMALLEST, LARGEST = 100, 100_000  # bounds of the number of lists for coverage
KEPT = 4  # times as many lists are kept, since returning users get the same list
ROW = np.dtype([("time", np.float64), ("fallback", np.int32), ("items", np.int32, (K,))])  # items end with -1


@dataclass(frozen=True)
class Exposure:
    """Exposure in some lists. Shares are of lists (fallback) or of listed items (tail); None if there are no lists."""

    lists: int
    distinct: int  # distinct lists, at most `size`
    size: int  # lists that the gate judged, one per user
    fallback_share: float | None = None
    tail_share: float | None = None  # mean over lists
    tail_share_error: float | None = None  # its standard error
    tail_coverage: float | None = None  # share of the tail that is in any of the newest `distinct` lists

    def plain(self) -> dict[str, Any]:
        return asdict(self)


class Window:
    """The ring buffers of one server, whose workers have the same parent process and model."""

    def __init__(self, model: str, is_tail: Bools, size: int, folder: Path | None = None) -> None:
        """Map this worker's ring; is_tail: (n_items,); size: number of judged lists, since coverage grows with it."""
        self.is_tail = np.append(is_tail, False)  # for -1, the padding
        self.size = int(np.clip(size, SMALLEST, LARGEST))
        self.folder = folder or Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp())
        self.name = f"window-{os.getppid()}-{model.replace(':', '-')}"
        self.path = self.folder / f"{self.name}-{os.getpid()}.ring"
        self.ring: npt.NDArray[Any] = np.memmap(self.path, ROW, "w+", shape=(KEPT * self.size,))
        self._times, self._fallbacks, self._items = (self.ring[name] for name in ("time", "fallback", "items"))
        self._next = 0

    def add(self, items: Indices, fallback: bool) -> None:
        slot, self._next = self._next, (self._next + 1) % len(self.ring)
        row = self._items[slot]
        n = min(len(items), K)
        row[:n] = items[:n]
        row[n:] = -1
        self._fallbacks[slot] = fallback
        self._times[slot] = time.monotonic()  # the same clock in all workers, and never set back

    def exposure(self) -> Exposure:
        """Return the exposure in the newest lists of all workers."""
        others = sorted({*self.folder.glob(f"{self.name}-*.ring")} - {self.path})
        rows = np.concatenate([np.array(self.ring), *(np.fromfile(path, ROW) for path in others)])
        rows = rows[rows["time"] > 0]
        rows = rows[np.argsort(-rows["time"], kind="stable")[: KEPT * self.size]]
        if len(rows) == 0:
            return Exposure(0, 0, self.size)
        items, n_tail = rows["items"], self.is_tail.sum()
        share = self.is_tail[items].sum(axis=1) / np.maximum((items >= 0).sum(axis=1), 1)  # (lists,)
        _, first = np.unique(items, axis=0, return_index=True)
        different = items[np.sort(first)[: self.size]]
        shown = np.unique(different[self.is_tail[different]])
        return Exposure(
            lists=len(rows),
            distinct=len(different),
            size=self.size,
            fallback_share=float(rows["fallback"].mean()),
            tail_share=float(share.mean()),
            tail_share_error=float(share.std() / np.sqrt(len(rows))),
            tail_coverage=float(len(shown) / n_tail) if n_tail else None,
        )
