"""Improve every row of one side of a factorization, with the other side fixed, by conjugate gradient.

    min over each row x   Σ_i w_i (1 - x·y_i)² + Σ_k s_k x_k² + λ |x - a|²        i: the row's pairs

s is the diagonal of the term over all pairs in the eigenbasis of the Gram matrix, so that no d x d system is formed for
any row, and D = s + λ is also the preconditioner (Hestenes and Stiefel 1952). The CPU works row by row
(`training.row_kernel`, compiled); other devices, and a machine without Numba, improve many rows at once in torch. The
results agree up to rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.training.interactions import Grouped

try:
    from models.training import row_kernel
except ImportError:  # no Numba for this platform
    row_kernel = None  # type: ignore[assignment]

PAIRS_PER_CHUNK = 1 << 20  # pairs per chunk in torch; bounds the memory of a half-sweep
TINY = 1e-30  # keeps the 0 / 0 of a solved row from becoming NaN


def improve(
    pairs: Grouped, fixed: Tensor, rows: Tensor, *, shared: Tensor, regularization: Tensor, prior: Tensor | None,
    steps: int,
) -> float:  # fmt: skip
    """Improve `rows` in place by `steps` steps; return the objective afterwards, summed over the rows with pairs.

    fixed y: (m, d); rows x and prior a: (n, d), None for 0; shared s: (d,); regularization λ: (n,); all float32.
    Rows without pairs are unchanged.
    """
    if row_kernel is None or rows.device.type != "cpu":
        return improve_together(
            pairs, fixed, rows, shared=shared, regularization=regularization, prior=prior, steps=steps
        )
    nothing, threads = np.empty(0, np.float32), torch.get_num_threads()
    objective = row_kernel.improve(
        array(pairs.indptr), array(pairs.columns), nothing if pairs.weights is None else array(pairs.weights),
        array(fixed), array(rows), array(shared), array(regularization),
        nothing.reshape(0, rows.shape[1]) if prior is None else array(prior),
        steps=steps, threads=threads,
    )  # fmt: skip
    torch.set_num_threads(threads)  # Numba's first parallel call sets OpenMP, which torch shares, to all processors
    return objective


def array(tensor: Tensor) -> npt.NDArray[Any]:
    """Return the tensor's memory as an array; raises ValueError if it is not contiguous."""
    if not tensor.is_contiguous():
        raise ValueError(f"a tensor of strides {tensor.stride()} is not contiguous; call `contiguous()`")
    shared: npt.NDArray[Any] = tensor.numpy()
    return shared


def improve_together(
    pairs: Grouped, fixed: Tensor, rows: Tensor, *, shared: Tensor, regularization: Tensor, prior: Tensor | None,
    steps: int,
) -> float:  # fmt: skip
    """Implement `improve` in torch."""
    objective = torch.zeros((), dtype=torch.float64, device=rows.device)
    for first, last, begin, end in chunks(pairs.indptr.cpu()):
        part, span = slice(first, last), slice(begin, end)
        chunk = Grouped(
            pairs.indptr[first : last + 1] - begin,
            pairs.columns[span],
            None if pairs.weights is None else pairs.weights[span],
        )
        anchor = None if prior is None else prior[part]
        improved, values = conjugate_gradient(
            chunk, fixed, rows[part], shared, regularization[part, None], anchor, steps
        )
        active = chunk.counts > 0
        rows[part] = torch.where(active[:, None], improved, rows[part])
        objective += values[active].sum()
    return float(objective)


def chunks(indptr: Tensor) -> Iterator[tuple[int, int, int, int]]:
    """Yield (first, last, begin, end): consecutive rows and their pairs, `last` and `end` exclusive."""
    first, n_rows = 0, len(indptr) - 1
    while first < n_rows:
        begin = int(indptr[first])
        last = max(first + 1, int(torch.searchsorted(indptr, begin + PAIRS_PER_CHUNK, right=True)) - 1)
        yield first, last, begin, int(indptr[last])
        first = last


def conjugate_gradient(
    chunk: Grouped, fixed: Tensor, rows: Tensor, shared: Tensor, ridge: Tensor, prior: Tensor | None, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the chunk's rows after `steps` steps from `rows`, and the objective of each, float64 (n,)."""
    columns, lengths, transposed = chunk.columns.long(), chunk.counts, fixed.T
    pattern = sparse_pattern(chunk.indptr, columns, len(fixed))
    weights = 1.0 if chunk.weights is None else chunk.weights

    def dots(p: Tensor) -> Tensor:  # p·y of every pair
        sampled: Tensor = torch.sparse.sampled_addmm(pattern, p, transposed, beta=0.0).values()
        return sampled

    def back(values: Tensor) -> Tensor:  # Σ_i value_i y_i of every row
        return torch.nn.functional.embedding_bag(
            columns, fixed, chunk.indptr, mode="sum", per_sample_weights=values, include_last_offset=True
        )

    def per_row(values: Tensor) -> Tensor:  # Σ_i value_i of every row
        return torch.segment_reduce(values.double(), "sum", lengths=lengths, initial=0)

    diagonal, error = shared + ridge, 1 - dots(rows)
    residual, away = back(weights * error) - diagonal * rows, rows
    if prior is not None:
        residual, away = residual + ridge * prior, rows - prior
    objective = per_row(weights * error * error) + (shared * rows * rows + ridge * away * away).double().sum(1)
    z = residual / diagonal
    direction, rz = z, (residual * z).sum(1, keepdim=True)
    for _ in range(steps):
        image = back(weights * dots(direction)).addcmul_(diagonal, direction)
        alpha = rz / (direction * image).sum(1, keepdim=True).clamp_(min=TINY)
        objective -= (alpha * rz)[:, 0].double()  # exact line search on a quadratic
        rows = torch.addcmul(rows, alpha, direction)
        residual = residual.addcmul(alpha, image, value=-1)
        z = residual / diagonal
        rz, previous = (residual * z).sum(1, keepdim=True), rz
        direction = torch.addcmul(z, rz / previous.clamp(min=TINY), direction)
    return rows, objective


def sparse_pattern(indptr: Tensor, columns: Tensor, n_columns: int) -> Tensor:
    """Return a CSR matrix of zeros with an entry per pair."""
    with warnings.catch_warnings():  # torch warns at the first use that CSR is in beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        zeros = torch.zeros(len(columns), device=columns.device)
        shape = (len(indptr) - 1, n_columns)
        return torch.sparse_csr_tensor(indptr, columns, zeros, shape, check_invariants=False)
