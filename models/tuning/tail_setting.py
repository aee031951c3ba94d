"""How lists are re-ranked towards the tail: by the method and strength that show most of it, as far as valid allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from models.evaluation import exposure, metrics
from models.evaluation.measure import Catalogue, Relevant, exposure_of
from models.evaluation.metrics import Bools, Floats, Lists
from models.inference import reranking
from models.inference.candidates import Candidates
from models.inference.factors import Factors
from models.inference.reranking import Rerank, rerank
from models.ranking import baselines, ranking
from models.ranking.fold_in import fold_in
from models.ranking.seen import Seen
from models.tuning import exposure_prices

K = 10


@dataclass(frozen=True)
class Holdout:
    """Users of a holdout: what they did before, and what they did then."""

    histories: csr_array[Any]  # (n_users, n_items), also what is excluded from their lists
    relevant: Relevant


@dataclass(frozen=True)
class Outcome:
    """What a method does on the holdout, at 10."""

    how: Rerank
    ndcg: float
    tail_ndcg: float
    tail_coverage: float
    loss: float  # of NDCG, as a share of that without re-ranking
    loss_error: float  # standard error of the loss, over users


def lists(
    model: Factors, users: npt.NDArray[np.float32], holdout: Holdout, *, batch: int, device: torch.device
) -> Lists:
    """The users' first 10 unseen items in order of their scores, (n_users, 10)."""
    n_users, n_items = holdout.histories.shape
    scorer = baselines.factors(model, users, device=device)
    every = np.ones(n_items, np.bool_)
    parts = ranking.recommend(scorer, Seen(holdout.histories), rows=np.arange(n_users), allowed=every, k=K, batch=batch)
    return np.concatenate(list(parts))


def mean_ndcg(lists: Lists, relevant: Relevant, *, n_items: int) -> float:
    """NDCG@10 over the users that have a relevant item."""
    return float(np.nanmean(ndcg(lists, relevant, n_items=n_items)))


def ndcg(lists: Lists, relevant: Relevant, *, n_items: int) -> Floats:
    """NDCG@10 (n_users,), NaN for users without a relevant item."""
    found, total = metrics.hits(lists, relevant.rows, relevant.items, n_items=n_items)
    return metrics.ndcg(found, total, K)


def sweep(
    model: Factors, crowd: csr_array[Any], holdout: Holdout, catalogue: Catalogue,
    strengths: Mapping[str, Sequence[float]], *, batch: int, device: torch.device,
) -> Iterator[Outcome]:  # fmt: skip
    """Yield what no re-ranking does, then every method at each of its strengths; users are folded in just once.

    crowd: histories (n, n_items) of users whose lists show how often an item is shown, for `slots`.
    """
    is_tail = catalogue.is_tail
    found = shortlist(model, holdout.histories, is_tail, batch=batch, device=device)
    of_crowd = shortlist(model, crowd, is_tail, batch=batch, device=device) if strengths.get("slots") else None
    shares = ranking.tail_shares(holdout.histories, is_tail)
    before: Floats | None = None
    for option in options(catalogue, strengths):
        how = exposure_prices.learn(option, of_crowd) if option.method == "slots" and of_crowd else option
        shown = rerank(how, found, shares, k=K)
        if before is None:
            before = ndcg(shown, holdout.relevant, n_items=len(is_tail))
        yield outcome(how, shown, holdout, catalogue, before)


def shortlist(
    model: Factors, histories: csr_array[Any], is_tail: Bools, *, batch: int, device: torch.device
) -> Candidates:
    """What there is to re-rank for users (n_users, c), whose histories (n_users, n_items) are not shown again."""
    n_users, n_items = histories.shape
    scorer = baselines.factors(model, fold_in(model, histories, device=device), device=device)
    rows, every = np.arange(n_users), np.ones(n_items, np.bool_)
    parts = list(ranking.shortlist(scorer, Seen(histories), is_tail, rows=rows, allowed=every, k=K, batch=batch))
    items, relevance = ([getattr(part, name) for part in parts] for name in ("items", "relevance"))
    return Candidates(np.concatenate(items), np.concatenate(relevance))


def options(catalogue: Catalogue, strengths: Mapping[str, Sequence[float]]) -> Iterator[Rerank]:
    """Every method at each of its strengths, after none; `slots` still without prices."""
    plain = reranking.none(catalogue.is_tail)
    yield plain
    popularity = np.log1p(catalogue.users_of_item.astype(np.float64))
    popularity = (popularity / max(popularity.max(), 1)).astype(np.float32)
    for method, values in strengths.items():
        against = popularity if method == "popularity" else plain.against
        for strength in values:
            yield Rerank(method, strength, catalogue.is_tail, against)


def outcome(how: Rerank, shown: Lists, holdout: Holdout, catalogue: Catalogue, before: Floats) -> Outcome:
    """Figures of lists (n_users, 10), whose users have the NDCG `before` (n_users,) without re-ranking."""
    n_items, tail = len(catalogue.is_tail), holdout.relevant.among(catalogue.is_tail)
    after = ndcg(shown, holdout.relevant, n_items=n_items)
    loss = (before - after)[~np.isnan(before)]
    scale = float(np.nanmean(before)) or 1.0  # where nothing was found there is nothing to lose
    return Outcome(
        how,
        ndcg=float(np.nanmean(after)),
        tail_ndcg=mean_ndcg(shown, tail, n_items=n_items) if len(tail.rows) else 0.0,
        tail_coverage=float(exposure.coverage(exposure_of(shown, catalogue)[catalogue.is_tail])),
        loss=float(loss.mean()) / scale,
        loss_error=float(loss.std() / np.sqrt(len(loss))) / scale,
    )


def choose(outcomes: Sequence[Outcome], *, max_ndcg_loss: float) -> Outcome:
    """The outcome of largest tail coverage among those that lose at most so much, one standard error included.

    The error keeps luck on few users from being chosen. Ties go to the better NDCG, then to the earlier one; without
    re-ranking nothing is lost.
    """
    allowed = [outcome for outcome in outcomes if outcome.loss + outcome.loss_error <= max_ndcg_loss]
    return max(allowed or outcomes[:1], key=lambda outcome: (outcome.tail_coverage, outcome.ndcg))


def front(outcomes: Sequence[Outcome]) -> list[bool]:
    """Which outcomes are Pareto-optimal in NDCG, tail NDCG and tail coverage: none is as good in all, better in one."""
    points = np.array([(o.ndcg, o.tail_ndcg, o.tail_coverage) for o in outcomes])
    beaten = [((points >= point).all(axis=1) & (points > point).any(axis=1)).any() for point in points]
    return [not each for each in beaten]
