"""Accuracy of ranked lists, per user, and the registry of all metrics by name.

Relevance is binary: `hits` (n_users, K) marks the ranks of relevant items, `n_relevant` (n_users,) counts all relevant
items. For a user without any the metric is undefined and NaN; means are over the others.

Comparison with public toolkits: ranx has the same numbers except for MAP; its means count users without relevant items
as 0. RecTools (0.x) and LensKit (2025) differ as noted in docstrings, and LensKit divides precision by the length of a
list shorter than k. `tail_ndcg`, `tail_recall` and `cold_recall` restrict R to tail or cold items, in the same lists;
`cold_recall_among_cold` is recall in lists that rank cold items only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Lists = npt.NDArray[np.int32]  # (n_users, k) item indices, best first, padded with -1
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.integer[Any]]


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


def defined(values: Floats, n_relevant: Counts) -> Floats:
    return np.where(n_relevant > 0, values, np.nan)


def ratio(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> Floats:
    """numerator / denominator by element, NaN if the denominator is not positive."""
    undefined = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), np.nan)
    quotient: Floats = np.divide(numerator, denominator, out=undefined, where=denominator > 0)
    return quotient


BY_RELEVANCE: dict[str, Callable[[Bools, Counts, int], Floats]] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "hit_rate": hit_rate,
    "mrr": mrr,
    "map": average_precision,
}


def hits(lists: Lists, user_rows: Counts, items: Counts, *, n_items: int) -> tuple[Bools, npt.NDArray[np.int64]]:
    """Return the mask (n_users, K) of ranks with a relevant pair (user_rows, items), and relevant pairs per user."""
    pairs = user_rows.astype(np.int64) * n_items + items
    listed = np.arange(len(lists), dtype=np.int64)[:, None] * n_items + lists
    found = np.isin(listed, pairs) & (lists >= 0)
    return found, np.bincount(user_rows, minlength=len(lists))


@dataclass(frozen=True)
class Metric:
    """Properties of a metric, for rules and reports."""

    kind: Literal["accuracy", "tail"]
    higher_is_better: bool
    per_user: bool  # a mean over users; else a figure of all lists together
    says: str  # description in a line
    unit: str = ""  # "" for shares
    by_holdout: bool = False  # the holdout, not the lists, decides which users have a value
    lowest: float = 0.0
    highest: float = 1.0


def accuracy(says: str) -> Metric:
    return Metric("accuracy", higher_is_better=True, per_user=True, says=says, by_holdout=True)


def tail(says: str, *, higher_is_better: bool = True, per_user: bool = True, **more: Any) -> Metric:
    return Metric("tail", higher_is_better, per_user, says, **more)


REGISTRY: dict[str, Metric] = {
    "ndcg": accuracy("relevant items in the list, weighted by rank; 1 is the best possible list"),
    "recall": accuracy("share of a user's relevant items that are in the list"),
    "precision": accuracy("share of the k ranks with a relevant item"),
    "f1": accuracy("harmonic mean of precision and recall"),
    "hit_rate": accuracy("share of users with a relevant item in their list"),
    "mrr": accuracy("1 / rank of the first relevant item"),
    "map": accuracy("mean precision at the ranks of relevant items"),
    "tail_ndcg": tail("ndcg with only tail items as relevant", by_holdout=True),
    "tail_recall": tail("share of a user's relevant tail items that are in the list", by_holdout=True),
    "cold_recall": tail(
        "share of a user's relevant cold items (without interactions in train) that are in the list", by_holdout=True
    ),
    "cold_recall_among_cold": tail("cold_recall in a list of cold items only", by_holdout=True),
    "aplt": tail("share of tail items in a list"),
    "aclt": tail("number of tail items in a list", unit="items", highest=math.inf),
    "arp": tail("mean number of train users of listed items", unit="users", higher_is_better=False, highest=math.inf),
    "novelty": tail("rarity of listed items: mean -log2 of the share of users", unit="bits", highest=math.inf),
    "popularity_lift": tail(
        "relative excess of a list's popularity over the user's history; 0 is faithful",
        higher_is_better=False,
        lowest=-1.0,
        highest=math.inf,
    ),
    "diversity": tail("dissimilarity of the texts in a list: 1 - mean cosine", highest=2.0),
    "item_coverage": tail("share of the catalogue that is in any list", per_user=False),
    "tail_coverage": tail("share of the tail that is in any list", per_user=False),
    "gini": tail("inequality of item exposure: 0 all equal, 1 a single item", higher_is_better=False, per_user=False),
    "entropy": tail("evenness of item exposure", unit="bits", per_user=False, highest=math.inf),
    "poprsp": tail(
        "difference of the chances of head and tail items to be listed: 0 none, 1 one group has no chance",
        higher_is_better=False,
        per_user=False,
    ),
    "popreo": tail("poprsp among relevant items", higher_is_better=False, per_user=False),
}


def look_up(name: str) -> tuple[str, Metric, int]:
    """Return base name, properties and k of a metric written `<name>@<k>`; raises ValueError listing all metrics."""
    base, _, k = name.partition("@")
    if base not in REGISTRY or not re.fullmatch(r"[1-9]\d{0,3}", k, re.ASCII):
        raise ValueError(f"unknown metric {name!r}; write <metric>@<k> with one of {', '.join(REGISTRY)}")
    return base, REGISTRY[base], int(k)
