"""`Factors.fold_in` for many users at once: the same normal equations, batched, each in its cheaper form.

In the eigenbasis of the Gram matrix (G = Q Λ Qᵀ) all that users share is the diagonal D = alpha Λ + lambda_u. A history
of h items, Ỹ = Y Q, then needs one solve of size min(h, d):

    h < d   x = Q D⁻¹ Ỹᵀ (I + Ỹ D⁻¹ Ỹᵀ)⁻¹ 1     (Woodbury)
    h ≥ d   x = Q (D + ỸᵀỸ)⁻¹ Ỹᵀ 1
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from models.factors import Factors, Floats

CELLS = 2**22  # float64 numbers in the largest array of a batch: 32 MiB


def fold_in(model: Factors, histories: csr_array[Any], *, device: torch.device) -> Floats:
    """User factors (n_users, d) of unweighted histories, stored entries of (n_users, n_items); zero where empty.

    Raises ValueError where item factors are not finite.
    """
    if not np.isfinite(model.item_factors).all():
        raise ValueError(
            "item factors hold NaN or infinity: training diverged; raise train.regularization and run it again"
        )
    alpha, d = model.unobserved_weight, model.item_factors.shape[1]
    eigenvalues, basis = np.linalg.eigh(model.gram.astype(np.float64))
    rotated = torch.from_numpy(model.item_factors @ basis).to(device)  # (n_items, d), float64
    rotated = torch.cat([rotated, rotated.new_zeros(1, d)])  # the last row pads short histories
    lengths = np.diff(histories.indptr)
    users = np.zeros((len(lengths), d), np.float64)
    for rows, longest in batches(lengths, d):
        items = padded(histories, rows, longest, filler=len(rotated) - 1)
        ridge = np.array([model.regularization(int(n)) for n in lengths[rows]])
        diagonal = torch.from_numpy(alpha * eigenvalues + ridge[:, None]).to(device)  # (b, d)
        present = torch.from_numpy(items < len(rotated) - 1).to(device)
        solution = solve(rotated[torch.from_numpy(items).to(device)], diagonal, present.double())
        users[rows] = solution.cpu().numpy()
    folded: Floats = (users @ basis.T).astype(np.float32)
    return folded


def solve(y: Tensor, diagonal: Tensor, ones: Tensor) -> Tensor:
    """x (b, d) of (D + YᵀY) x = Yᵀ1 for y (b, h, d) padded with zero rows, where `ones` (b, h) is 0."""
    h, d = y.shape[1:]
    if h < d:
        scaled = y / diagonal[:, None, :]
        kernel = scaled @ y.mT + torch.eye(h, dtype=y.dtype, device=y.device)  # (b, h, h)
        return (scaled.mT @ cholesky_solve(kernel, ones)[..., None])[..., 0]
    return cholesky_solve(y.mT @ y + torch.diag_embed(diagonal), y.sum(dim=1))


def cholesky_solve(a: Tensor, b: Tensor) -> Tensor:
    """Solution (b, n) of symmetric positive definite systems a (b, n, n)."""
    return torch.cholesky_solve(b[..., None], torch.linalg.cholesky(a))[..., 0]


def batches(lengths: npt.NDArray[np.integer[Any]], d: int) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Users with a history, in batches of similar length that fit in memory, each with its longest history."""
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    stop = len(order)
    while stop and (longest := int(ascending[stop - 1])):  # longest first; the empty ones remain
        start = max(0, stop - max(1, CELLS // (max(longest, d) * d)))
        start = max(start, int(np.searchsorted(ascending, longest // 2, side="right")))  # pads to at most twice
        yield order[start:stop], longest
        stop = start


def padded(
    histories: csr_array[Any], rows: npt.NDArray[np.int64], longest: int, *, filler: int
) -> npt.NDArray[np.int64]:
    """Item indices (len(rows), longest) of the rows' histories, `filler` after their ends."""
    items = np.full((len(rows), longest), filler, np.int64)
    chosen = histories[rows]
    items[np.arange(longest) < np.diff(chosen.indptr)[:, None]] = chosen.indices
    return items
