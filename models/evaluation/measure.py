"""All metrics of one model on one holdout: per user, of all lists together, and the curves behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from models.evaluation import exposure, metrics, parity
from models.evaluation.metrics import Bools, Floats, Lists

Sparse = csr_array[Any]
Indices = npt.NDArray[np.integer[Any]]
N_DECILES = 10
NUMBERS = 2**24  # numbers of list vectors at a time: 64 MB


@dataclass(frozen=True)
class Catalogue:
    """Properties of the items that metrics need, all (n_items,)."""

    users_of_item: Indices  # distinct train users
    is_tail: Bools
    is_cold: Bools
    n_users: int  # train users in all


@dataclass(frozen=True)
class Relevant:
    """The relevant pairs: row of the evaluated user, and item."""

    rows: Indices
    items: Indices

    def among(self, chosen: Bools) -> Relevant:
        """Return only the pairs with chosen items (n_items,)."""
        keep = chosen[self.items]
        return Relevant(self.rows[keep], self.items[keep])


@dataclass(frozen=True)
class Evaluation:
    """Results of one model, users in the same order for all models."""

    per_user: dict[str, Floats]  # metric@k -> (n_users,), NaN where undefined
    lists: Lists  # (n_users, largest k)
    counts: dict[str, Floats] = field(default_factory=dict)  # (n_users,); metrics are ratios of their sums


@dataclass(frozen=True)
class Users:
    """Histories of the evaluated users, for some metrics, both sparse (n_users, n_items)."""

    histories: Sparse  # input of the models
    seen: Sparse  # excluded from their lists


def evaluate(
    lists: Lists,
    cold_lists: Lists,
    relevant: Relevant,
    catalogue: Catalogue,
    *,
    ks: Sequence[int],
    users: Users | None = None,
    embeddings: npt.NDArray[np.floating[Any]] | None = None,
) -> Evaluation:
    """Return every per-user metric at every k. `cold_lists` (n_users, K) rank cold items only, padded with -1.

    Popularity lift, PopRSP and PopREO need `users`, diversity needs text `embeddings` (n_items, t), unit vectors;
    without these they are left out.
    """
    n_items = len(catalogue.is_tail)
    tail, cold = relevant.among(catalogue.is_tail), relevant.among(catalogue.is_cold)
    hits, total = metrics.hits(lists, relevant.rows, relevant.items, n_items=n_items)
    tail_hits, tail_total = metrics.hits(lists, tail.rows, tail.items, n_items=n_items)
    cold_hits, cold_total = metrics.hits(lists, cold.rows, cold.items, n_items=n_items)
    among_cold, _ = metrics.hits(cold_lists, cold.rows, cold.items, n_items=n_items)
    per_user: dict[str, Floats] = {}
    for k in ks:
        top = lists[:, :k]
        per_user |= {f"{name}@{k}": metric(hits, total, k) for name, metric in metrics.BY_RELEVANCE.items()}
        per_user |= {
            f"tail_ndcg@{k}": metrics.ndcg(tail_hits, tail_total, k),
            f"tail_recall@{k}": metrics.recall(tail_hits, tail_total, k),
            f"cold_recall@{k}": metrics.recall(cold_hits, cold_total, k),
            f"cold_recall_among_cold@{k}": metrics.recall(among_cold, cold_total, k),
            f"aplt@{k}": exposure.aplt(top, catalogue.is_tail),
            f"aclt@{k}": exposure.aclt(top, catalogue.is_tail),
            f"arp@{k}": exposure.arp(top, catalogue.users_of_item),
            f"novelty@{k}": exposure.novelty(top, catalogue.users_of_item, n_users=catalogue.n_users),
        }
        if users is not None:
            per_user[f"popularity_lift@{k}"] = exposure.popularity_lift(top, catalogue.users_of_item, users.histories)
        if embeddings is not None:
            per_user[f"diversity@{k}"] = in_batches(top, embeddings)
    if users is None:
        return Evaluation(per_user, lists)
    of_groups = np.stack([total - tail_total, tail_total], axis=1)
    return Evaluation(per_user, lists, parity.counts(lists, hits, of_groups, users.seen, catalogue.is_tail, ks=ks))


def in_batches(lists: Lists, embeddings: npt.NDArray[np.floating[Any]]) -> Floats:
    """Return the diversity of each list, in batches: the vectors of all lists at once would take most of the memory."""
    batch = max(1, NUMBERS // (max(lists.shape[1], 1) * embeddings.shape[1]))
    parts = [lists[start : start + batch] for start in range(0, len(lists), batch)]
    return np.concatenate([np.empty(0), *(exposure.diversity(part, embeddings) for part in parts)])


def summary(evaluation: Evaluation, catalogue: Catalogue, *, ks: Sequence[int]) -> dict[str, float]:
    """Return every metric as one number, without those that are undefined for all users."""
    values = {name: float(np.nanmean(v)) for name, v in evaluation.per_user.items() if not np.isnan(v).all()}
    for k in ks:
        shown = exposure_of(evaluation.lists[:, :k], catalogue)
        values |= {f"{name}@{k}": float(f(shown, catalogue.is_tail)) for name, f in exposure.OF_EXPOSURE.items()}
        if evaluation.counts:
            sums = {name: parity.columns(evaluation.counts, name, k).sum(axis=0) for name in parity.RATIOS}
            values |= {f"{name}@{k}": float(parity.figure(each)) for name, each in sums.items()}
    return {name: value for name, value in values.items() if not np.isnan(value)}


def exposure_of(lists: Lists, catalogue: Catalogue) -> Floats:
    """Return how often each item is listed, (n_items,)."""
    return np.bincount(lists[lists >= 0], minlength=len(catalogue.is_tail)).astype(np.float64)


def deciles(catalogue: Catalogue) -> npt.NDArray[np.int64]:
    """Return the popularity decile 1 (most popular) to 10 of every item, of equal sizes, ties by item index."""
    n = len(catalogue.users_of_item)
    decile = np.empty(n, np.int64)
    decile[np.argsort(-catalogue.users_of_item.astype(np.int64), kind="stable")] = np.arange(n) * N_DECILES // n + 1
    return decile


def recall_by_decile(lists: Lists, relevant: Relevant, catalogue: Catalogue) -> Floats:
    """Return the share of relevant pairs that are listed, per popularity decile, (10,); NaN without relevant pairs."""
    n_items, decile = len(catalogue.is_tail), deciles(catalogue)
    found = np.isin(
        relevant.rows.astype(np.int64) * n_items + relevant.items,
        (np.arange(len(lists), dtype=np.int64)[:, None] * n_items + lists)[lists >= 0],
    )
    total = np.bincount(decile[relevant.items], minlength=N_DECILES + 1)[1:]
    held = np.bincount(decile[relevant.items[found]], minlength=N_DECILES + 1)[1:]
    return metrics.ratio(held, total)


def lorenz(shown: Floats, *, points: int = 100) -> Floats:
    """Return the share of exposure of the least exposed 0, 1/points, … 1 of the catalogue, (points + 1,)."""
    cumulated = np.concatenate([[0.0], np.sort(shown).cumsum()])
    at = np.linspace(0, len(shown), points + 1)
    shares: Floats = np.interp(at, np.arange(len(shown) + 1), cumulated) / max(cumulated[-1], 1)
    return shares
