"""Accuracy of ranked lists, per user.

Relevance is binary: `hits` (n_users, K) marks the ranks of relevant items, `n_relevant` (n_users,) counts all relevant
items. For a user without any the metric is undefined and NaN; means are over the others.

Comparison with public toolkits: ranx has the same numbers except for MAP; its means count users without relevant items
as 0. RecTools (0.x) and LensKit (2025) differ as noted in docstrings, and LensKit divides precision by the length of a
list shorter than k. `tail_ndcg`, `tail_recall` and `cold_recall` restrict R to tail or cold items, in the same lists;
`cold_recall_among_cold` is recall in lists that rank cold items only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.evaluation.metric import Bools, Counts, Floats, Lists, Metric, defined, ratio


def precision(hits: Bools, n_relevant: Counts, k: int) -> Floats:
    """|L ∩ R| / k; a list shorter than k is not rewarded (Manning et al. 2008, Introduction to IR, 8.4)."""
    return defined(ratio(hits[:, :k].sum(axis=1), np.array(k)), n_relevant)


def recall(hits: Bools, n_relevant: Counts, k: int) -> Floats:
    """|L ∩ R| / |R| (Manning et al. 2008, 8.3); below 1 for every list where |R| > k, LensKit has min(k, |R|)."""
    return ratio(hits[:, :k].sum(axis=1), n_relevant)


def f1(hits: Bools, n_relevant: Counts, k: int) -> Floats:
    """Harmonic mean 2 PR / (P + R) of precision and recall, 0 without a hit (van Rijsbergen 1979, chapter 7)."""
    p, r = precision(hits, n_relevant, k), recall(hits, n_relevant, k)
    return defined(np.nan_to_num(ratio(2 * p * r, p + r)), n_relevant)


def hit_rate(hits: Bools, n_relevant: Counts, k: int) -> Floats:
    """1 if the list has a relevant item, else 0 (Deshpande and Karypis 2004, TOIS 22(1))."""
    return defined(np.where(hits[:, :k].any(axis=1), 1.0, 0.0), n_relevant)


def mrr(hits: Bools, n_relevant: Counts, k: int) -> Floats:
    """1 / rank of the first relevant item, 0 if the list has none (Voorhees 1999, TREC-8)."""
    first = hits[:, :k].argmax(axis=1)  # 0 if there is none, masked by `any`
    return defined(hits[:, :k].any(axis=1) / (first + 1), n_relevant)


def average_precision(hits: Bools, n_relevant: Counts, k: int) -> Floats:
    """Σ precision@r over the ranks r of relevant items / min(k, |R|) , 0 without any.

    The MAP of Manning et al. 2008, 8.4, cut at k, so that a list of relevant items only has 1. LensKit has the same for
    lists of k; ranx and RecTools divide by |R|, so that theirs is smaller by min(k, |R|) / |R|.
    """
    at = hits[:, :k]
    precisions = at.cumsum(axis=1) / np.arange(1, at.shape[1] + 1)
    return defined((precisions * at).sum(axis=1) / np.clip(n_relevant, 1, k), n_relevant)


def ndcg(hits: Bools, n_relevant: Counts, k: int) -> Floats:
    """Σ 1/log2(rank + 1) over relevant ranks, divided by that of the best list (Burges et al. 2005, ICML).

    Järvelin and Kekäläinen (2002, TOIS 20(4)) discount by max(1, log2 rank), so that ranks 1 and 2 count alike, as does
    LensKit by default; its LogRankWeight(offset=1) is the discount here, and that of ranx. The best list has
    min(k, |R|) relevant items on top; in RecTools it has k unless divide_by_achievable is set, so that NDCG is smaller
    for users with fewer.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = discounts.cumsum()[np.clip(n_relevant, 1, k) - 1]
    return defined(hits[:, :k] @ discounts[: hits.shape[1]] / ideal, n_relevant)


def hits(lists: Lists, user_rows: Counts, items: Counts, *, n_items: int) -> tuple[Bools, npt.NDArray[np.int64]]:
    """Return the mask (n_users, K) of ranks with a relevant pair (user_rows, items), and relevant pairs per user."""
    pairs = user_rows.astype(np.int64) * n_items + items
    listed = np.arange(len(lists), dtype=np.int64)[:, None] * n_items + lists
    found = np.isin(listed, pairs) & (lists >= 0)
    return found, np.bincount(user_rows, minlength=len(lists))


def accuracy(function: Callable[[Bools, Counts, int], Floats], says: str) -> Metric:
    return Metric("accuracy", says, by_holdout=True, of_users=lambda of, k: function(of.hits, of.n_relevant, k))


METRICS = {
    "ndcg": accuracy(ndcg, "relevant items in the list, weighted by rank; 1 is the best possible list"),
    "recall": accuracy(recall, "share of a user's relevant items that are in the list"),
    "precision": accuracy(precision, "share of the k ranks with a relevant item"),
    "f1": accuracy(f1, "harmonic mean of precision and recall"),
    "hit_rate": accuracy(hit_rate, "share of users with a relevant item in their list"),
    "mrr": accuracy(mrr, "1 / rank of the first relevant item"),
    "map": accuracy(average_precision, "mean precision at the ranks of relevant items"),
    "tail_ndcg": Metric(
        "tail", "ndcg with only tail items as relevant", by_holdout=True,
        of_users=lambda of, k: ndcg(of.tail_hits, of.n_tail, k),
    ),
    "tail_recall": Metric(
        "tail", "share of a user's relevant tail items that are in the list", by_holdout=True,
        of_users=lambda of, k: recall(of.tail_hits, of.n_tail, k),
    ),
    "cold_recall": Metric(
        "tail", "share of a user's relevant cold items (without interactions in train) that are in the list",
        by_holdout=True, of_users=lambda of, k: recall(of.cold_hits, of.n_cold, k),
    ),
    "cold_recall_among_cold": Metric(
        "tail", "cold_recall in a list of cold items only", by_holdout=True,
        of_users=lambda of, k: recall(of.hits_among_cold, of.n_cold, k),
    ),
}  # fmt: skip
