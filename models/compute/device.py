"""Choice of the device for tensors."""

from __future__ import annotations

import torch


def choose(name: str) -> torch.device:
    """Return the device: `auto` is CUDA if available, else the CPU. Raises ValueError if `cuda` is not available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no CUDA device; set device to auto or cpu")
    return torch.device(name)
