"""`Factors.fold_in` for many users at once: the same user vectors, batched, each by the cheaper of two forms.

`LeastSquares` in the eigenbasis of the Gram matrix (G = Q Λ Qᵀ): the part shared by all users is the diagonal D = alpha
Λ + lambda_u. A history of h items with weights w, Ỹ = √w Y Q, then needs one solve of size min(h, d):

    h < d   x = Q D⁻¹ Ỹᵀ (I + Ỹ D⁻¹ Ỹᵀ)⁻¹ √w     (Woodbury)
    h ≥ d   x = Q (D + ỸᵀỸ)⁻¹ Ỹᵀ √w
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from models.inference.factors import Factors
from models.inference.user_side import Doubles, Floats, ItemSide, LeastSquares, Pooling

CELLS = 2**20  # float64 numbers in the largest array of a batch: 8 MiB


def fold_in(model: Factors, histories: csr_array[Any], *, device: torch.device) -> Floats:
    """Return user vectors (n_users, d) of histories, (n_users, n_items) with weights as entries; zero if empty.

    Raises ValueError if item factors are not finite.
    """
    if not np.isfinite(model.item_factors).all():
        raise ValueError(
            "item factors hold NaN or infinity: training diverged; raise train.regularization and run it again"
        )
    users = np.zeros((histories.shape[0], model.item_factors.shape[1]), np.float32)
    for side, items, span in model.sides():
        if isinstance(side, LeastSquares):
            users[:, span] = least_squares(side, items, histories, device)
        else:
            users[:, span] = pool(side, histories)
    return users


def pool(side: Pooling, histories: csr_array[Any]) -> Doubles:
    """Return users (n_users, d) as sums over their histories."""
    totals = np.asarray(histories.sum(axis=1), np.float64)
    users = np.zeros((len(totals), side.dim))
    some = totals > 0
    pooled = (histories[some] @ side.sources).astype(np.float64) * totals[some, None] ** -side.exponent
    users[some] = side.scale * side.perceptron(pooled)
    return users


def least_squares(
    side: LeastSquares, items: ItemSide, histories: csr_array[Any], device: torch.device
) -> npt.NDArray[np.float64]:
    """Return users (n_users, d) as solutions of their normal equations."""
    rotated = torch.from_numpy(items.turned(items.factors)).to(device)  # (n_items, d), float64
    lengths = np.diff(histories.indptr)
    users = np.zeros((len(lengths), side.dim), np.float64)
    for rows, longest in batches(lengths, side.dim):
        history, weights = padded(histories, rows, longest)
        diagonal = side.unobserved_weight * items.eigenvalues + side.ridge(lengths[rows], items.n_warm)[:, None]
        roots = torch.from_numpy(np.sqrt(weights)).to(device)  # (b, h), 0 for padding
        y = rotated[torch.from_numpy(history).to(device)] * roots[:, :, None]  # (b, h, d)
        users[rows] = solve(y, torch.from_numpy(diagonal).to(device), roots).cpu().numpy()
    return side.scale * items.back(users)


def solve(y: Tensor, diagonal: Tensor, target: Tensor) -> Tensor:
    """Solve (D + YᵀY) x = Yᵀ t for x (b, d), given y (b, h, d), padded with zero rows, and t (b, h)."""
    h, d = y.shape[1:]
    if h < d:
        scaled = y / diagonal[:, None, :]
        kernel = scaled @ y.mT + torch.eye(h, dtype=y.dtype, device=y.device)  # (b, h, h)
        return (scaled.mT @ cholesky_solve(kernel, target)[..., None])[..., 0]
    return cholesky_solve(y.mT @ y + torch.diag_embed(diagonal), (y.mT @ target[..., None])[..., 0])


def cholesky_solve(a: Tensor, b: Tensor) -> Tensor:
    """Return the solution (b, n) of symmetric positive definite systems a (b, n, n)."""
    return torch.cholesky_solve(b[..., None], torch.linalg.cholesky(a))[..., 0]


def batches(lengths: npt.NDArray[np.integer[Any]], d: int) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Yield users with a history, in batches of similar length that fit in memory, each with its longest length."""
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    stop = len(order)
    while stop and (longest := int(ascending[stop - 1])):  # longest first, without empty ones
        similar = int(np.searchsorted(ascending, longest * 3 // 4, side="right"))  # at most a third is padding
        start = max(similar, stop - max(1, CELLS // (max(longest, d) * d)))
        yield order[start:stop], longest
        stop = start


def padded(
    histories: csr_array[Any], rows: npt.NDArray[np.int64], longest: int
) -> tuple[npt.NDArray[np.int64], Doubles]:
    """Return items and weights (len(rows), longest) of the rows' histories, padded with any item of weight 0."""
    items, weights = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest))
    chosen = histories[rows]
    present = np.arange(longest) < np.diff(chosen.indptr)[:, None]
    items[present], weights[present] = chosen.indices, chosen.data
    return items, weights
