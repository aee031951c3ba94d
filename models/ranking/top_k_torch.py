"""The k largest scores of every row by torch's operators: `ranking.top_k` on a GPU, and without Numba.

All scores are read once, for the maxima of groups; of each row, only the k groups with the largest maxima are read
again, in the same way. (`torch.topk` selects by radix: it reads all scores once for every few bits, and breaks ties
arbitrarily.) The host does not wait for the device before it fetches the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

GROUPS = 128, 16  # columns; the first size that leaves less than half of them to read again is used

Floats = npt.NDArray[np.float32]


def best(scores: Tensor, closed: npt.NDArray[np.integer[Any]], *, k: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return items (b, k) and their scores, see `ranking.top_k`; scores (b, n) of items in `closed` become -inf."""
    if len(closed):
        scores.index_fill_(1, torch.from_numpy(closed).to(scores.device), -torch.inf)
    items = largest(scores, k=min(k, scores.shape[1]))
    values = scores.gather(1, items)
    short = ((0, 0), (0, k - items.shape[1]))
    values_found = np.pad(values.cpu().numpy(), short, constant_values=-np.inf)
    if np.isnan(values_found[:, :1]).any():
        raise ValueError("scores hold NaN: the model is damaged or its training diverged; run `dvc repro train`")
    items_found = np.pad(items.masked_fill(values == -torch.inf, -1).cpu().numpy(), short, constant_values=-1)
    return items_found, values_found


def largest(scores: Tensor, *, k: int) -> Tensor:
    """Return the columns (b, k) of the k largest of (b, n) per row, NaN first, ties in order of the column."""
    size = next((size for size in GROUPS if scores.shape[1] > 2 * k * size), None)
    if size is None:
        return scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    # Groups are ranges, so of two with equal maxima the first has the first column: like columns, groups are ordered by
    # maximum, then by position. A column with fewer than k before it is in one of the first k groups.
    n_groups = scores.shape[1] // size
    grouped, rest = scores[:, : n_groups * size].view(len(scores), n_groups, size), scores[:, n_groups * size :]
    groups = largest(grouped.amax(2), k=k).sort(dim=1).values
    chosen = grouped.gather(1, groups[:, :, None].expand(-1, -1, size)).flatten(1)
    places = largest(torch.cat([chosen, rest], dim=1), k=k)
    groups = F.pad(groups, (0, 1), value=n_groups)  # the rest, as one more group
    return groups.gather(1, places // size) * size + places % size
