"""Full-catalogue ranking: the k best unseen items of each user, or what to re-rank; exact also among ties."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from models import candidates
from models.candidates import Bools, Candidates, Floats
from models.metrics import Lists
from models.reranking import Rerank, rerank

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
    scorer: Scorer, seen: csr_array[Any], *, rows: Rows, allowed: Bools, k: int, batch: int
) -> Iterator[Lists]:
    """Yield the lists (≤ batch, k) of the users `rows`, batch by batch; memory is one batch of scores.

    seen: (n_users, n_items), its stored entries are excluded; allowed: (n_items,), the rest is never recommended.
    """
    for scores in unseen(scorer, seen, rows=rows, allowed=allowed, batch=batch):
        yield top_k(scores, k=k).cpu().numpy().astype(np.int32)


def shortlist(
    scorer: Scorer, seen: csr_array[Any], is_tail: Bools, *, rows: Rows, allowed: Bools, k: int, batch: int
) -> Iterator[Candidates]:
    """Yield the candidates of the users `rows` for lists of k, as `candidates.of_scores` finds them for one user."""
    head = torch.from_numpy(~is_tail)
    for scores in unseen(scorer, seen, rows=rows, allowed=allowed, batch=batch):
        best = top_k(scores, k=max(candidates.OVERALL, k))
        of_tail = top_k(scores.masked_fill(head.to(scores.device), -torch.inf), k=candidates.TAIL)
        yield candidates.join(*with_scores(best, scores), *with_scores(of_tail, scores))


def reranked(
    scorer: Scorer, seen: csr_array[Any], how: Rerank, *, histories: csr_array[Any], rows: Rows, allowed: Bools, k: int,
    batch: int,
) -> Iterator[Lists]:  # fmt: skip
    """Yield the lists (≤ batch, k) of the users `rows`, re-ranked. histories: (n_users, n_items), as folded in."""
    shares = tail_shares(histories, how.is_tail)
    batches = shortlist(scorer, seen, how.is_tail, rows=rows, allowed=allowed, k=k, batch=batch)
    for start, found in zip(range(0, len(rows), batch), batches, strict=True):
        yield rerank(how, found, shares[rows[start : start + batch]], k=k)


def tail_shares(histories: csr_array[Any], is_tail: Bools) -> Floats:
    """`Rerank.tail_share` of many users (n_users,), whose histories are the rows of (n_users, n_items)."""
    totals = np.asarray(histories.sum(axis=1), np.float64)
    of_tail = np.asarray(histories @ is_tail.astype(np.float64))
    shares: Floats = np.divide(of_tail, totals, out=np.zeros_like(totals), where=totals > 0).astype(np.float32)
    return shares


def with_scores(items: Tensor, scores: Tensor) -> tuple[Rows, Floats]:
    """Items (b, c) and their scores, -inf where an item is -1."""
    values = scores.gather(1, items.clamp(min=0)).masked_fill(items < 0, -torch.inf)
    return items.cpu().numpy(), values.cpu().numpy()


def unseen(scorer: Scorer, seen: csr_array[Any], *, rows: Rows, allowed: Bools, batch: int) -> Iterator[Tensor]:
    """Yield scores (≤ batch, n_items) of the users `rows`, -inf for what they have seen and for what is not allowed."""
    forbidden = torch.from_numpy(np.flatnonzero(~allowed))
    for start in range(0, len(rows), batch):
        users = rows[start : start + batch]
        scores = scorer(users)  # (b, n_items)
        excluded = seen[users].tocoo()
        scores[torch.from_numpy(excluded.row).long(), torch.from_numpy(excluded.col).long()] = -torch.inf
        scores[:, forbidden] = -torch.inf
        yield scores
