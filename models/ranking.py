"""Full-catalogue ranking: the k best unseen items of each user, or what to re-rank; exact also among ties.

Scores are made a tile at a time and searched before the next tile is made, by each thread for users of its own: memory
does not grow with the users, on a CPU scores never leave the cache, and no thread waits for another. All metrics at all
k are read from the one list of the largest k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from models import candidates
from models.candidates import Bools, Candidates, Floats
from models.metrics import Lists
from models.reranking import Rerank, rerank

try:
    from models import top_k_kernel
except ImportError:  # a machine without Numba
    top_k_kernel = None  # type: ignore[assignment]

Rows = npt.NDArray[np.int64]
Scorer = Callable[[Rows], Tensor]  # rows of users (b,) -> fresh scores, float32 (b, n_items)
Best = tuple[npt.NDArray[np.integer[Any]], Floats]  # items and scores (b, k), -1 and -inf where there are fewer
Found = TypeVar("Found")
TILE = 2**22  # scores at a time and thread: 16 MB


def top_k(scores: Tensor, among: Bools, *, k: int) -> Best:
    """Items of the k largest scores per row, best first, ties in order of the item index, and their scores.

    scores: float32 (b, n_items); -inf marks items that must not appear. among: (n_items,), the others do not count.
    Raises ValueError where a score is NaN.
    """
    if top_k_kernel is None or scores.device.type != "cpu":
        return by_torch(scores, among, k=k)
    closed = np.empty(0, np.float32) if among.all() else np.where(among, 0, -np.inf).astype(np.float32)
    return top_k_kernel.best(scores.numpy(), closed, k=k)


def by_torch(scores: Tensor, among: Bools, *, k: int) -> Best:
    """`top_k` on any device."""
    if not among.all():
        scores = scores.masked_fill(torch.from_numpy(~among).to(scores.device), -torch.inf)
    depth = min(k, scores.shape[1])
    values, items = scores.topk(min(depth + 1, scores.shape[1]))  # among equal scores any may come out
    if values[:, :1].isnan().any():  # topk ranks NaN first
        raise ValueError("scores hold NaN: the model is damaged or its training diverged; run `dvc repro train`")
    cut = (values[:, depth - 1] == values[:, -1]) & (values[:, -1] > -torch.inf) & (values.shape[1] > depth)
    if cut.any():  # equal scores on both sides of the cut: only a stable sort of the whole row is exact
        items[cut, :depth] = scores[cut].argsort(dim=1, descending=True, stable=True)[:, :depth]
    items = items[:, :depth].sort(dim=1).values
    values, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    best = items.gather(1, order).masked_fill(values == -torch.inf, -1)
    short = ((0, 0), (0, k - depth))
    scores_found = np.pad(values.cpu().numpy(), short, constant_values=-np.inf)
    return np.pad(best.cpu().numpy(), short, constant_values=-1), scores_found


def recommend(
    scorer: Scorer, seen: csr_array[Any], *, rows: Rows, allowed: Bools, k: int, batch: int
) -> Iterator[Lists]:
    """Yield the lists (≤ batch, k) of the users `rows`, batch by batch; memory is a tile of scores per thread.

    seen: (n_users, n_items), its stored entries are excluded; allowed: (n_items,), the rest is never recommended.
    """

    def search(users: Rows) -> Lists:
        return top_k(unseen(scorer, seen, users), allowed, k=k)[0].astype(np.int32)

    for tiles in in_threads(search, rows, n_items=seen.shape[1], batch=batch):
        yield np.concatenate(tiles)


def shortlist(
    scorer: Scorer, seen: csr_array[Any], is_tail: Bools, *, rows: Rows, allowed: Bools, k: int, batch: int
) -> Iterator[Candidates]:
    """Yield the candidates of the users `rows` for lists of k, as `candidates.of_scores` finds them for one user."""
    overall, of_tail = max(candidates.OVERALL, k), allowed & is_tail

    def search(users: Rows) -> tuple[Best, Best]:
        scores = unseen(scorer, seen, users)
        return top_k(scores, allowed, k=overall), top_k(scores, of_tail, k=candidates.TAIL)

    for tiles in in_threads(search, rows, n_items=seen.shape[1], batch=batch):
        parts = zip(*((*best, *tail) for best, tail in tiles), strict=True)
        yield candidates.join(*(np.concatenate(part) for part in parts))


def reranked(
    scorer: Scorer, seen: csr_array[Any], how: Rerank, *, histories: csr_array[Any], rows: Rows, allowed: Bools, k: int,
    batch: int,
) -> Iterator[Lists]:  # fmt: skip
    """Yield the lists (≤ batch, k) of the users `rows`, re-ranked. histories: (n_users, n_items), as folded in."""
    shares = tail_shares(histories, how.is_tail)
    found = shortlist(scorer, seen, how.is_tail, rows=rows, allowed=allowed, k=k, batch=batch)
    for part, each in zip(batches(rows, batch), found, strict=True):
        yield rerank(how, each, shares[part], k=k)


def tail_shares(histories: csr_array[Any], is_tail: Bools) -> Floats:
    """`Rerank.tail_share` of many users (n_users,), whose histories are the rows of (n_users, n_items)."""
    totals = np.asarray(histories.sum(axis=1), np.float64)
    of_tail = np.asarray(histories @ is_tail.astype(np.float64))
    shares: Floats = np.divide(of_tail, totals, out=np.zeros_like(totals), where=totals > 0).astype(np.float32)
    return shares


def batches(rows: Rows, size: int) -> Iterator[Rows]:
    """Yield the users `rows`, at most `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def unseen(scorer: Scorer, seen: csr_array[Any], users: Rows) -> Tensor:
    """Scores (b, n_items) of users, -inf for what they have seen."""
    scores = scorer(users)
    excluded = seen[users].tocoo()
    scores[torch.from_numpy(excluded.row).long(), torch.from_numpy(excluded.col).long()] = -torch.inf
    return scores


def in_threads(search: Callable[[Rows], Found], rows: Rows, *, n_items: int, batch: int) -> Iterator[list[Found]]:
    """Yield what was found for the users of each batch, tile by tile; threads go on while the caller uses it."""
    tile, threads = max(1, TILE // n_items), torch.get_num_threads()
    # one thread for each product: several would meet after every tile, and wait for the slowest
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        found = [[pool.submit(search, users) for users in batches(part, tile)] for part in batches(rows, batch)]
        for futures in found:
            yield [future.result() for future in futures]
            futures.clear()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # which the pool's threads have changed for those that come after them
