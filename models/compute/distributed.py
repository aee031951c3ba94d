"""Several processes share a factorization: each owns some users and items and exchanges factors with the others.

A process (a rank of torch.distributed: gloo on CPUs, NCCL on GPUs) holds the pairs of its own rows, for both sides, and
the factors of its own users; item factors are held by all. Ranks own about equally many pairs. A half-sweep over

    users   solves the own users against the item factors, without any exchange
    items   gathers the factors of all users, solves the own items, gathers the items' factors

so that each rank receives (n_users + n_items) (1 - 1/R) factors of 4 d bytes an epoch, and a few d x d matrices.

On paper, 10⁸ users x 10⁷ items with 10¹⁰ pairs at d = 128 and 2 steps of conjugate gradient need, on R ranks:

    pairs        4 bytes each, by user and by item: 80 GB / R
    factors      of items 5 GB, of users 51 GB / R, and all 51 GB while items are solved
    arithmetic   (4 steps + 2) d operations a pair and half-sweep and 6 d² a user for Gram matrix and turns: 3.6 · 10¹³
    network      56 GB into every rank an epoch: 45 s at 10 Gbit/s, 4.5 s at 100 Gbit/s

so 16 machines of 128 GB. Past that size, users would have to be gathered and used in parts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch.distributed as dist
from torch import Tensor


@dataclass
class Traffic:
    """Bytes received by a rank so far, and its time spent exchanging and waiting for others."""

    received_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Ranks:
    """The processes that share a factorization, and this process's place among them; by default the only one."""

    rank: int = 0
    size: int = 1
    traffic: Traffic = field(default_factory=Traffic)

    def shares(self, counts: Tensor) -> list[slice]:
        """Return consecutive rows for each rank, of about equally many pairs and rows; counts: pairs per row, (n,)."""
        work = np.cumsum(counts.numpy() + 1)
        cuts = np.searchsorted(work, work[-1] * np.arange(1, self.size) / self.size).tolist()
        borders = [0, *cuts, len(work)]
        return [slice(first, last) for first, last in pairwise(borders)]

    def gather(self, own: Tensor, shares: list[slice]) -> Tensor:
        """Return the rows of all ranks (n, d), given the own ones."""
        if self.size == 1:
            return own
        table = own.new_empty(shares[-1].stop, *own.shape[1:])
        table[shares[self.rank]] = own
        with self._counted(table[: len(table) - len(own)]):
            for rank, share in enumerate(shares):
                if share.stop > share.start:
                    dist.broadcast(table[share], src=rank)
        return table

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over ranks, with the same bits on every rank."""
        if self.size > 1:
            with self._counted(value):
                dist.all_reduce(value)
        return value

    def first(self, value: Tensor) -> Tensor:
        """Return the value of rank 0; for eigenvectors, whose arbitrary signs all ranks must share."""
        if self.size > 1:
            with self._counted(value):
                dist.broadcast(value, src=0)
        return value

    @contextmanager
    def _counted(self, received: Tensor) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.traffic.seconds += time.perf_counter() - start
        self.traffic.received_bytes += received.numel() * received.element_size()
