"""Run torch on one thread, for operations whose rounding depends on the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Use one thread in torch inside the block.

    Of the operations of a training, decompositions and sums over a whole vector round differently by the number of
    threads; products, and sums along an axis, do not.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
