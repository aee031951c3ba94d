"""Full-catalogue ranking: the k best unseen items of each user, or the candidates to re-rank; exact also for ties.

Each thread computes scores for its own users a tile at a time, and searches a tile before the next: memory does not
grow with the users, on a CPU scores never leave the cache, and no thread waits for another. A GPU gets larger tiles,
from two threads: while one waits for its results, the GPU works for the other. All metrics at all k use the one list
of the largest k.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from models.evaluation.metric import Lists
from models.inference import candidates
from models.inference.candidates import Bools, Candidates, Floats
from models.inference.reranking import Rerank, rerank
from models.ranking import top_k_torch
from models.ranking.seen import Seen

try:
    from models.ranking import top_k_kernel
except ImportError:  # a machine without Numba
    top_k_kernel = None  # type: ignore[assignment]

Rows = npt.NDArray[np.int64]
Scorer = Callable[[Rows], Tensor]  # rows of users (b,) -> fresh scores, float32 (b, n_items)
Best = tuple[npt.NDArray[np.integer[Any]], Floats]  # items and scores (b, k), padded with -1 and -inf
Arrays = tuple[npt.NDArray[Any], ...]
TILE = 2**22  # scores at a time and thread: 16 MB ...
FAR_TILE = 2**26  # ... and 256 MB on a GPU, so that each kernel occupies all processors
FAR_THREADS = 2


def top_k(scores: Tensor, among: Bools, *, k: int) -> Best:
    """Return the items of the k largest scores per row, best first, ties in order of the item index, and their scores.

    scores: float32 (b, n_items); -inf marks excluded items. among: mask (n_items,), the others are excluded, and their
    scores may be overwritten. Raises ValueError if a score is NaN.
    """
    if top_k_kernel is None or scores.device.type != "cpu":
        return top_k_torch.best(scores, np.flatnonzero(~among), k=k)
    closed = np.empty(0, np.float32) if among.all() else np.where(among, 0, -np.inf).astype(np.float32)
    return top_k_kernel.best(scores.numpy(), closed, k=k)


def recommend(scorer: Scorer, seen: Seen, *, rows: Rows, allowed: Bools, k: int, batch: int) -> Iterator[Lists]:
    """Yield the lists (≤ batch, k) of the users `rows`, batch by batch; memory is a tile of scores per thread.

    seen: excluded items by user; allowed: mask (n_items,), the others are never recommended.
    """

    def search(users: Rows) -> Arrays:
        return (top_k(unseen(scorer, seen, users), allowed, k=k)[0].astype(np.int32),)

    for (lists,) in in_threads(search, scorer, seen, rows, batch=batch):
        yield lists


def shortlist(
    scorer: Scorer, seen: Seen, is_tail: Bools, *, rows: Rows, allowed: Bools, k: int, batch: int
) -> Iterator[Candidates]:
    """Yield the candidates of the users `rows` for lists of k, the same as `candidates.of_scores` for one user."""
    overall, of_tail = max(candidates.OVERALL, k), allowed & is_tail

    def search(users: Rows) -> Arrays:
        scores = unseen(scorer, seen, users)
        return *top_k(scores, allowed, k=overall), *top_k(scores, of_tail, k=candidates.TAIL)

    for items, values, tail_items, tail_values in in_threads(search, scorer, seen, rows, batch=batch):
        yield candidates.join(items, values, tail_items, tail_values)


def reranked(
    scorer: Scorer, seen: Seen, how: Rerank, *, histories: csr_array[Any], rows: Rows, allowed: Bools, k: int,
    batch: int,
) -> Iterator[Lists]:  # fmt: skip
    """Yield the lists (≤ batch, k) of the users `rows`, re-ranked. histories: (n_users, n_items), as folded in."""
    shares = tail_shares(histories, how.is_tail)
    found = shortlist(scorer, seen, how.is_tail, rows=rows, allowed=allowed, k=k, batch=batch)
    for part, each in zip(batches(rows, batch), found, strict=True):
        yield rerank(how, each, shares[part], k=k)


def tail_shares(histories: csr_array[Any], is_tail: Bools) -> Floats:
    """Return `Rerank.tail_share` of many users (n_users,), with histories (n_users, n_items)."""
    totals = np.asarray(histories.sum(axis=1), np.float64)
    of_tail = np.asarray(histories @ is_tail.astype(np.float64))
    shares: Floats = np.divide(of_tail, totals, out=np.zeros_like(totals), where=totals > 0).astype(np.float32)
    return shares


def batches(rows: Rows, size: int) -> Iterator[Rows]:
    """Yield the users `rows`, at most `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def unseen(scorer: Scorer, seen: Seen, users: Rows) -> Tensor:
    """Return the scores (b, n_items) of users, -inf for seen items."""
    scores = scorer(users)
    seen.exclude(scores, users)
    return scores


def in_threads(
    search: Callable[[Rows], Arrays], scorer: Scorer, seen: Seen, rows: Rows, *, batch: int
) -> Iterator[Arrays]:
    """Yield the results of each batch of users, each array (≤ batch, …); threads search ahead of the caller."""
    if not len(rows):
        return
    n_threads = torch.get_num_threads()
    is_far = unseen(scorer, seen, rows[:1]).device.type != "cpu"
    tile = max(1, (FAR_TILE if is_far else TILE) // seen.pairs.shape[1])
    part = max(1, tile // batch) * batch  # whole batches
    # one thread per product: several would synchronize after every tile, and wait for the slowest
    pool = ThreadPoolExecutor(FAR_THREADS if is_far else n_threads, initializer=torch.set_num_threads, initargs=(1,))
    started: deque[list[Future[Arrays]]] = deque()
    try:
        # threads are this many parts ahead of the caller; as many empty ones flush the last parts
        for some in (*batches(rows, part), *[rows[:0]] * n_threads):
            started.append([pool.submit(search, users) for users in batches(some, tile)])
            if len(started) <= n_threads or not (futures := started.popleft()):
                continue
            found = [np.concatenate(each) for each in zip(*(future.result() for future in futures), strict=True)]
            for start in range(0, len(found[0]), batch):
                yield tuple(each[start : start + batch] for each in found)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(n_threads)  # the pool's threads have changed it for later ones
