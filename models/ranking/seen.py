"""Seen items of users, excluded from their lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor


class Seen:
    """The stored entries of `pairs` (n_users, n_items); a GPU keeps a copy for all users from its first call on."""

    def __init__(self, pairs: csr_array[Any]) -> None:
        self.pairs = pairs
        self.kept: dict[torch.device, tuple[Tensor, Tensor]] = {}  # first entry of each user (n_users + 1,), and items

    def exclude(self, scores: Tensor, users: npt.NDArray[np.int64]) -> None:
        """Set scores of seen items to -inf. users: (b,), rows of the pairs; scores: (b, n_items), on any device."""
        if scores.device.type == "cpu":
            entries = self.pairs[users].tocoo()
            row, item = torch.from_numpy(entries.row).long(), torch.from_numpy(entries.col).long()
        else:
            row, item = self.entries(users, scores.device)
        scores[row, item] = -torch.inf

    def entries(self, users: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return row among `users` and item of their entries, computed on the device without waiting for it."""
        if device not in self.kept:
            starts, items = (torch.from_numpy(part).to(device) for part in (self.pairs.indptr, self.pairs.indices))
            self.kept[device] = starts.long(), items
        starts, items = self.kept[device]
        indptr = self.pairs.indptr
        total = int((indptr[users + 1] - indptr[users]).sum())  # from the host's copy, without a synchronization
        first = starts[torch.from_numpy(users).to(device)]
        lengths = starts[torch.from_numpy(users + 1).to(device)] - first
        row = torch.arange(len(users), device=device).repeat_interleave(lengths, output_size=total)
        before = lengths.cumsum(0) - lengths  # entries of earlier users
        entry = torch.arange(total, device=device) + (first - before)[row]
        return row, items[entry].long()
