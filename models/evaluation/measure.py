"""All metrics of one model on one holdout: per user, of all lists together, and the curves behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation import accuracy, metrics, parity
from models.evaluation.metric import Bools, Catalogue, Floats, Indices, Judged, Lists, Sparse, ratio

N_DECILES = 10


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
    hits, total = accuracy.hits(lists, relevant.rows, relevant.items, n_items=n_items)
    tail_hits, tail_total = accuracy.hits(lists, tail.rows, tail.items, n_items=n_items)
    cold_hits, cold_total = accuracy.hits(lists, cold.rows, cold.items, n_items=n_items)
    among_cold, _ = accuracy.hits(cold_lists, cold.rows, cold.items, n_items=n_items)
    judged = Judged(
        lists, catalogue, hits, total, tail_hits, tail_total, cold_hits, cold_total, among_cold,
        histories=None if users is None else users.histories, embeddings=embeddings,
    )  # fmt: skip
    per_user: dict[str, Floats] = {}
    for k in ks:
        for name, metric in metrics.REGISTRY.items():
            if metric.of_users is not None and (values := metric.of_users(judged, k)) is not None:
                per_user[f"{name}@{k}"] = values
    if users is None:
        return Evaluation(per_user, lists)
    of_groups = np.stack([total - tail_total, tail_total], axis=1)
    return Evaluation(per_user, lists, parity.counts(lists, hits, of_groups, users.seen, catalogue.is_tail, ks=ks))


def summary(evaluation: Evaluation, catalogue: Catalogue, *, ks: Sequence[int]) -> dict[str, float]:
    """Return every metric as one number, without those that are undefined for all users."""
    values = {name: float(np.nanmean(v)) for name, v in evaluation.per_user.items() if not np.isnan(v).all()}
    for k in ks:
        shown = exposure_of(evaluation.lists[:, :k], catalogue)
        for name, metric in metrics.REGISTRY.items():
            if metric.of_exposure is not None:
                values[f"{name}@{k}"] = float(metric.of_exposure(shown, catalogue.is_tail))
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
    return ratio(held, total)


def lorenz(shown: Floats, *, points: int = 100) -> Floats:
    """Return the share of exposure of the least exposed 0, 1/points, … 1 of the catalogue, (points + 1,)."""
    cumulated = np.concatenate([[0.0], np.sort(shown).cumsum()])
    at = np.linspace(0, len(shown), points + 1)
    shares: Floats = np.interp(at, np.arange(len(shown) + 1), cumulated) / max(cumulated[-1], 1)
    return shares
