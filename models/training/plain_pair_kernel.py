"""Inner loop of `training.row_kernel` in plain Numba: the twin of `pair_kernel`, and its fallback."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer[Any]]
FAST = {"reassoc", "contract", "arcp", "nsz"}  # of `row_kernel`, which imports this module


@njit(fastmath=FAST, cache=True)
def add_errors(
    columns: Ints, begin: int, end: int, weights: Floats, fixed: Floats, x: Floats, target: np.float32, out: Floats,
    wanted: bool, far: bool,
) -> float:  # fmt: skip
    """Σ w (target - x·y)² over the pairs begin .. end - 1; where wanted, out += Σ w (target - x·y) y.

    Arguments are those of `pair_kernel.add_errors`; `far` is ignored.
    """
    total = 0.0
    for pair in range(begin, end):
        y = fixed[columns[pair]]
        dot = np.float32(0)
        for k in range(len(x)):
            dot += x[k] * y[k]
        error = target - dot
        pull = weights[pair] * error if len(weights) > 0 else error
        total += np.float64(pull * error)
        if wanted:
            for k in range(len(x)):
                out[k] += pull * y[k]
    return total
