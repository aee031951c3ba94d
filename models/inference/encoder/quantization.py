"""Weights in eight bits: each row of a matrix as integers from -127 to 127, times a step per row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LARGEST = 127
STEPS = ".steps"  # suffix of a matrix's name for its steps


def quantized(weights: dict[str, Array]) -> dict[str, Array]:
    """Return matrices (out, in) as int8, with their steps (out,); vectors are unchanged."""
    found: dict[str, Array] = {}
    for name, weight in weights.items():
        if weight.ndim != 2:
            found[name] = weight
            continue
        steps = np.abs(weight.astype(np.float32)).max(axis=1) / LARGEST
        steps[steps == 0] = 1  # of a row of zeros
        found[name] = np.rint(weight / steps[:, None]).astype(np.int8)
        found[name + STEPS] = steps.astype(np.float32)
    return found


def restored(weights: dict[str, Array]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the input of `quantized`, to half a step; weights in half precision are returned in single."""
    return {
        name: weight * weights[name + STEPS][:, None] if weight.dtype == np.int8 else weight.astype(np.float32)
        for name, weight in weights.items()
        if not name.endswith(STEPS)
    }
