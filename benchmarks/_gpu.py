"""Measuring on a GPU: work is handed to it and goes on behind the caller's back, in memory of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def devices() -> list[torch.device]:
    """Where there is something to measure: one CUDA device, or none."""
    return [torch.device("cuda")] if torch.cuda.is_available() else []


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """How long a run takes until the device has ended it."""
    settle(device)
    start = time.perf_counter()
    run()
    settle(device)
    return time.perf_counter() - start


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_megabytes(run: Callable[[], object], device: torch.device) -> int | None:
    """The most memory of the device that tensors take during a run, those included that are there before.

    None, without a run, for a device that is not of CUDA and does not tell.
    """
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return int(torch.cuda.max_memory_allocated(device)) // 10**6
