"""Conjugate gradient row by row, on the CPU: `models.training.row_solver` compiled by Numba.

All steps of a row run while the factors of its pairs are in the cache: each is read from main memory once per
half-sweep. A row's result depends only on that row, so neither on the number of threads nor on their schedule.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import njit, prange

from models.compute import compiled
from models.training import pair_kernel, plain_pair_kernel

compiled.share(__file__, pair_kernel, plain_pair_kernel)
compiled.share(plain_pair_kernel.__file__)

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer[Any]]

CHUNKS = 256  # of about equal work, assigned to free threads; constant: sums must not depend on threads
ROW_COST = 8  # fixed cost of a row, in pairs
# "fast" without the flags that assume no NaN or infinity: divergence must be detected
FAST = {"reassoc", "contract", "arcp", "nsz"}
TINY = 1e-30  # keeps the 0 / 0 of a solved row from becoming NaN
CACHE = 1 << 17  # numbers that stay in the cache of a core from one step to the next
ZERO, ONE = np.float32(0), np.float32(1)


@njit(cache=True)
def _probe(columns: Ints, floats: Floats) -> float:
    return float(pair_kernel.add_errors(columns, 0, 0, floats, floats[None], floats, ZERO, floats, False, False))


def chosen(probe: Callable[[Ints, Floats], float]) -> Any:
    """Return the inner loop: `pair_kernel`'s, or the plain one with a warning if this LLVM rejects its vectors."""
    try:
        probe(np.zeros(1, np.int32), np.zeros(1, np.float32))
    except Exception as error:  # llvmlite and Numba raise errors of many kinds for code that they cannot generate
        problem = " ".join(str(error).split())[:200]
        warnings.warn(f"models.training.pair_kernel does not compile here, training is slower: {problem}", stacklevel=2)
        return plain_pair_kernel.add_errors
    return pair_kernel.add_errors


add_errors = chosen(_probe)


def improve(
    indptr: Ints, columns: Ints, weights: Floats, fixed: Floats, rows: Floats, shared: Floats, regularization: Floats,
    prior: Floats, *, steps: int, threads: int,
) -> float:  # fmt: skip
    """`models.training.row_solver.improve` on arrays; empty weights are ones, an empty prior is zero."""
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    with numba.parallel_chunksize(1):
        objectives = _improve(
            indptr, columns, weights, fixed, rows, shared, regularization, prior, steps, boundaries(indptr)
        )
    return float(objectives.sum())


def boundaries(indptr: Ints) -> npt.NDArray[np.int64]:
    """Return the first rows of chunks of about equal work, and the end."""
    work = indptr + ROW_COST * np.arange(len(indptr))
    cuts = np.searchsorted(work, np.linspace(0, work[-1], min(CHUNKS, len(indptr)) + 1))
    cuts[0], cuts[-1] = 0, len(indptr) - 1
    return np.unique(cuts).astype(np.int64)


@njit(parallel=True, fastmath=FAST, cache=True, nogil=True)
def _improve(
    indptr: Ints, columns: Ints, weights: Floats, fixed: Floats, rows: Floats, shared: Floats, regularization: Floats,
    prior: Floats, steps: int, cuts: Ints,
) -> npt.NDArray[np.float64]:  # fmt: skip
    d = fixed.shape[1]
    objectives = np.zeros(len(cuts) - 1)
    for chunk in prange(len(cuts) - 1):
        scratch = np.empty((4, d), np.float32)
        total = 0.0
        for row in range(cuts[chunk], cuts[chunk + 1]):
            begin, end = indptr[row], indptr[row + 1]
            if begin < end:
                anchor = prior[row] if len(prior) > 0 else shared[:0]
                total += _solve(
                    columns, begin, end, weights, fixed, rows[row], shared, regularization[row], anchor, steps, scratch,
                )  # fmt: skip
        objectives[chunk] = total
    return objectives


@njit(fastmath=FAST, cache=True, inline="always")
def _solve(
    columns: Ints, begin: int, end: int, weights: Floats, fixed: Floats, x: Floats, shared: Floats, ridge: np.float32,
    anchor: Floats, steps: int, scratch: Floats,
) -> float:  # fmt: skip
    """Improve x in place and return its objective afterwards."""
    residual, direction, image, diagonal = scratch[0], scratch[1], scratch[2], scratch[3]
    objective = np.float64(0)
    far = (end - begin) * len(x) > CACHE
    for k in range(len(x)):
        diagonal[k] = shared[k] + ridge
        pull = anchor[k] if len(anchor) > 0 else ZERO
        residual[k] = ridge * pull - diagonal[k] * x[k]
        objective += shared[k] * x[k] * x[k] + ridge * (x[k] - pull) * (x[k] - pull)
    objective += np.float64(add_errors(columns, begin, end, weights, fixed, x, ONE, residual, True, True))
    rz = ZERO
    for k in range(len(x)):
        direction[k] = residual[k] / diagonal[k]
        rz += residual[k] * direction[k]
    for step in range(steps):
        last = step == steps - 1
        curvature = np.float64(0)
        for k in range(len(x)):
            image[k] = -diagonal[k] * direction[k]
            curvature -= image[k] * direction[k]
        curvature += np.float64(add_errors(columns, begin, end, weights, fixed, direction, ZERO, image, not last, far))
        alpha = np.float32(rz / max(curvature, TINY))
        objective -= alpha * rz  # exact line search on a quadratic
        for k in range(len(x)):
            x[k] += alpha * direction[k]
        if not last:
            previous, rz = rz, ZERO
            for k in range(len(x)):
                residual[k] += alpha * image[k]
                rz += residual[k] * residual[k] / diagonal[k]
            beta = np.float32(rz / max(np.float64(previous), TINY))
            for k in range(len(x)):
                direction[k] = residual[k] / diagonal[k] + beta * direction[k]
    return objective
