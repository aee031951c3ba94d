"""Choice of tail re-ranking: the method and strength with the largest tail coverage within the NDCG loss on valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from models.evaluation import accuracy, exposure
from models.evaluation.measure import Relevant, exposure_of
from models.evaluation.metric import Bools, Catalogue, Floats, Lists
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
    """Users of a holdout: their histories, and their later relevant pairs."""

    histories: csr_array[Any]  # (n_users, n_items), excluded from their lists
    relevant: Relevant


@dataclass(frozen=True)
class Outcome:
    """Figures of a method on the holdout, at 10."""

    how: Rerank
    ndcg: float
    tail_ndcg: float
    tail_coverage: float
    loss: float  # of NDCG, relative to no re-ranking
    loss_error: float  # standard error of the loss, over users


def lists(
    model: Factors, users: npt.NDArray[np.float32], holdout: Holdout, *, batch: int, device: torch.device
) -> Lists:
    """Return the users' first 10 unseen items in order of their scores, (n_users, 10)."""
    n_users, n_items = holdout.histories.shape
    scorer = baselines.factors(model, users, device=device)
    every = np.ones(n_items, np.bool_)
    parts = ranking.recommend(scorer, Seen(holdout.histories), rows=np.arange(n_users), allowed=every, k=K, batch=batch)
    return np.concatenate(list(parts))


def mean_ndcg(lists: Lists, relevant: Relevant, *, n_items: int) -> float:
    """Return the mean NDCG@10 over users with a relevant item."""
    return float(np.nanmean(ndcg(lists, relevant, n_items=n_items)))


def ndcg(lists: Lists, relevant: Relevant, *, n_items: int) -> Floats:
    """Return NDCG@10 (n_users,), NaN for users without a relevant item."""
    found, total = accuracy.hits(lists, relevant.rows, relevant.items, n_items=n_items)
    return accuracy.ndcg(found, total, K)


def sweep(
    model: Factors, sample: csr_array[Any], holdout: Holdout, catalogue: Catalogue,
    strengths: Mapping[str, Sequence[float]], *, batch: int, device: torch.device,
) -> Iterator[Outcome]:  # fmt: skip
    """Yield the outcome without re-ranking, then of every method at each strength; users are folded in only once.

    sample: histories (n, n_items) of users whose lists give the exposure of items, for `slots`.
    """
    is_tail = catalogue.is_tail
    found = shortlist(model, holdout.histories, is_tail, batch=batch, device=device)
    of_sample = shortlist(model, sample, is_tail, batch=batch, device=device) if strengths.get("slots") else None
    shares = ranking.tail_shares(holdout.histories, is_tail)
    before: Floats | None = None
    for option in options(catalogue, strengths):
        how = exposure_prices.learn(option, of_sample) if option.method == "slots" and of_sample else option
        shown = rerank(how, found, shares, k=K)
        if before is None:
            before = ndcg(shown, holdout.relevant, n_items=len(is_tail))
        yield outcome(how, shown, holdout, catalogue, before)


def shortlist(
    model: Factors, histories: csr_array[Any], is_tail: Bools, *, batch: int, device: torch.device
) -> Candidates:
    """Return the candidates (n_users, c) of users, without the items of their histories (n_users, n_items)."""
    n_users, n_items = histories.shape
    scorer = baselines.factors(model, fold_in(model, histories, device=device), device=device)
    rows, every = np.arange(n_users), np.ones(n_items, np.bool_)
    parts = list(ranking.shortlist(scorer, Seen(histories), is_tail, rows=rows, allowed=every, k=K, batch=batch))
    items, relevance = ([getattr(part, name) for part in parts] for name in ("items", "relevance"))
    return Candidates(np.concatenate(items), np.concatenate(relevance))


def options(catalogue: Catalogue, strengths: Mapping[str, Sequence[float]]) -> Iterator[Rerank]:
    """Yield the method none, then every method at each strength; `slots` still without prices."""
    plain = reranking.none(catalogue.is_tail)
    yield plain
    popularity = np.log1p(catalogue.users_of_item.astype(np.float64))
    popularity = (popularity / max(popularity.max(), 1)).astype(np.float32)
    for method, values in strengths.items():
        against = popularity if method == "popularity" else plain.against
        for strength in values:
            yield Rerank(method, strength, catalogue.is_tail, against)


def outcome(how: Rerank, shown: Lists, holdout: Holdout, catalogue: Catalogue, before: Floats) -> Outcome:
    """Return the figures of lists (n_users, 10); before: NDCG (n_users,) without re-ranking."""
    n_items, tail = len(catalogue.is_tail), holdout.relevant.among(catalogue.is_tail)
    after = ndcg(shown, holdout.relevant, n_items=n_items)
    loss = (before - after)[~np.isnan(before)]
    scale = float(np.nanmean(before)) or 1.0  # without any hit there is no loss
    return Outcome(
        how,
        ndcg=float(np.nanmean(after)),
        tail_ndcg=mean_ndcg(shown, tail, n_items=n_items) if len(tail.rows) else 0.0,
        tail_coverage=float(exposure.coverage(exposure_of(shown, catalogue)[catalogue.is_tail])),
        loss=float(loss.mean()) / scale,
        loss_error=float(loss.std() / np.sqrt(len(loss))) / scale,
    )


def choose(outcomes: Sequence[Outcome], *, max_ndcg_loss: float) -> Outcome:
    """Return the outcome of largest tail coverage within the loss limit, one standard error included.

    The standard error guards against luck on few users. Ties go to the better NDCG, then to the earlier one; no
    re-ranking has no loss.
    """
    allowed = [outcome for outcome in outcomes if outcome.loss + outcome.loss_error <= max_ndcg_loss]
    return max(allowed or outcomes[:1], key=lambda outcome: (outcome.tail_coverage, outcome.ndcg))


def front(outcomes: Sequence[Outcome]) -> list[bool]:
    """Return the mask of outcomes that are Pareto-optimal in NDCG, tail NDCG and tail coverage."""
    points = np.array([(o.ndcg, o.tail_ndcg, o.tail_coverage) for o in outcomes])
    beaten = [((points >= point).all(axis=1) & (points > point).any(axis=1)).any() for point in points]
    return [not each for each in beaten]
