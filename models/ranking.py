"""Full-catalogue ranking: the k best unseen items of each user, exact also among ties."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from models.metrics import Lists

Rows = npt.NDArray[np.int64]
Scorer = Callable[[Rows], Tensor]  # rows of users (b,) -> fresh scores, float (b, n_items)


def top_k(scores: Tensor, *, k: int) -> Tensor:
    """Items of the k largest scores per row, int64 (b, k), best first, ties in order of the item index.

    scores: (b, n_items); -inf marks items that must not appear, rows with fewer others are filled with -1.
    Raises ValueError where a score is NaN.
    """
    n_rows, n_items = scores.shape
    depth = min(k, n_items)
    values, items = scores.topk(min(depth + 1, n_items))  # among equal scores any may come out
    if values[:, :1].isnan().any():  # topk ranks NaN first
        raise ValueError("scores hold NaN: the model is damaged or its training diverged; run `dvc repro train`")
    cut = (values[:, depth - 1] == values[:, -1]) & (values[:, -1] > -torch.inf) & (values.shape[1] > depth)
    if cut.any():  # equal scores on both sides of the cut: only a stable sort of the whole row is exact
        items[cut, :depth] = scores[cut].argsort(dim=1, descending=True, stable=True)[:, :depth]
    items = items[:, :depth].sort(dim=1).values
    values, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    best = items.gather(1, order).masked_fill(values == -torch.inf, -1)
    filler = best.new_full((n_rows, k - depth), -1)
    return torch.cat([best, filler], dim=1)


def recommend(
    scorer: Scorer, seen: csr_array[Any], *, rows: Rows, allowed: npt.NDArray[np.bool_], k: int, batch: int
) -> Iterator[Lists]:
    """Yield the lists (≤ batch, k) of the users `rows`, batch by batch; memory is one batch of scores.

    seen: (n_users, n_items), its stored entries are excluded; allowed: (n_items,), the rest is never recommended.
    """
    forbidden = torch.from_numpy(np.flatnonzero(~allowed))
    for start in range(0, len(rows), batch):
        users = rows[start : start + batch]
        scores = scorer(users)  # (b, n_items)
        excluded = seen[users].tocoo()
        scores[torch.from_numpy(excluded.row).long(), torch.from_numpy(excluded.col).long()] = -torch.inf
        scores[:, forbidden] = -torch.inf
        yield top_k(scores, k=k).cpu().numpy().astype(np.int32)
