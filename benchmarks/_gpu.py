"""Measurements on a GPU, which works asynchronously and in its own memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def devices() -> list[torch.device]:
    """Return the devices to measure: one CUDA device, or none."""
    return [torch.device("cuda")] if torch.cuda.is_available() else []


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a run, including the device's work."""
    settle(device)
    start = time.perf_counter()
    run()
    settle(device)
    return time.perf_counter() - start


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_megabytes(run: Callable[[], object], device: torch.device) -> int | None:
    """Return the peak memory of tensors on the device during a run, including earlier tensors.

    None, without a run, for a device other than CUDA.
    """
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return int(torch.cuda.max_memory_allocated(device)) // 10**6
