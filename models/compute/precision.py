"""Choice of the number format of a transformer."""

from __future__ import annotations

from time import perf_counter
from typing import Literal

import torch
from torch import Tensor

from models.compute.dense import Dense
from models.compute.single_thread import single_thread

Precision = Literal["auto", "fp32", "bf16"]
GAIN = 1.25  # bf16 keeps 8 bits of 24: it has to be clearly faster to be chosen


def choose(name: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype: `auto` is bfloat16 if a measurement shows that a dense layer is clearly faster in it."""
    if name != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    fp32, bf16 = seconds(torch.float32, torch.bfloat16)
    return torch.bfloat16 if fp32 > GAIN * bf16 else torch.float32


def seconds(*dtypes: torch.dtype) -> list[float]:
    """Return the shortest of many times of a dense layer on one core, by dtype.

    Short, alternating and many, since other processes on the machine only make times longer.
    """
    with single_thread():
        layers = [layer(dtype) for dtype in dtypes]
        times = [[timed(*each) for each in layers] for _ in range(100)]
    return [min(of_layer) for of_layer in zip(*times, strict=True)]


def layer(dtype: torch.dtype) -> tuple[Dense, Tensor]:
    """Return a dense layer of a small encoder, and its input."""
    rng = torch.Generator().manual_seed(0)
    weight, bias, x = (torch.randn(*shape, generator=rng).to(dtype) for shape in ((1536, 384), (1536,), (64, 384)))
    return Dense(weight, bias), x


def timed(dense: Dense, x: Tensor) -> float:
    start = perf_counter()
    dense(x)
    return perf_counter() - start
