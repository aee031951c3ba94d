"""The lists served last, by all workers of a server, and what they show of the tail beside what the gate found.

Each worker writes its lists into a ring in a file that all of them map, so that whichever is asked can tell of all.
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

K = 10  # places of a list that count: the gate judges lists of 10
SMALLEST, LARGEST = 100, 100_000  # lists that coverage is of
KEPT = 4  # times as many lists are kept, since users who come back are shown the same list
ROW = np.dtype([("time", np.float64), ("fallback", np.int32), ("items", np.int32, (K,))])  # items end with -1


@dataclass(frozen=True)
class Exposure:
    """What some lists show. Shares are of lists (fallback) or of shown items (tail); None where there are no lists."""

    lists: int
    distinct: int  # how many of them differ, at most `size`
    size: int  # lists that the gate judged, one of each user
    fallback_share: float | None = None
    tail_share: float | None = None  # mean over lists
    tail_share_error: float | None = None  # its standard error
    tail_coverage: float | None = None  # share of the tail that is in any of the newest `distinct` different lists

    def plain(self) -> dict[str, Any]:
        return asdict(self)


class Window:
    """The rings of one server: its workers have the same parent process and serve the same model."""

    def __init__(self, model: str, is_tail: Bools, size: int, folder: Path | None = None) -> None:
        """is_tail: (n_items,); size: lists that the gate judged, since coverage grows with their number."""
        self.is_tail = np.append(is_tail, False)  # of -1, the item that is none
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
        self._times[slot] = time.monotonic()  # the machine's own, the same in all workers: nobody sets it back

    def exposure(self) -> Exposure:
        """Of the newest lists of all workers."""
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
