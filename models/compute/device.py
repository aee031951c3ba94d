"""Where tensors live."""

from __future__ import annotations

import torch


def choose(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises ValueError when CUDA is asked for and absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no CUDA device; set device to auto or cpu")
    return torch.device(name)
