"""How strongly popularity counts against an item: as strongly as valid accuracy allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from models import exposure, metrics, references
from models.evaluation import Catalogue, Relevant, exposure_of
from models.factors import Factors
from models.fold_in import fold_in
from models.metrics import Lists
from models.ranking import recommend
from models.user_side import Floats

K = 10


@dataclass(frozen=True)
class Holdout:
    """Users of a holdout: what they did before, and what they did then."""

    histories: csr_array[Any]  # (n_users, n_items), also what is excluded from their lists
    relevant: Relevant


@dataclass(frozen=True)
class Outcome:
    """What one strength does on the holdout."""

    strength: float
    ndcg: float  # @10
    tail_coverage: float  # @10


def lists(model: Factors, users: Floats, holdout: Holdout, *, batch: int, device: torch.device) -> Lists:
    """The users' first 10 unseen items, (n_users, 10)."""
    n_users, n_items = holdout.histories.shape
    scorer = references.factors(model, users, device=device)
    every = np.ones(n_items, np.bool_)
    parts = recommend(scorer, holdout.histories, rows=np.arange(n_users), allowed=every, k=K, batch=batch)
    return np.concatenate(list(parts))


def mean_ndcg(lists: Lists, relevant: Relevant, *, n_items: int) -> float:
    """NDCG@10 over the users that have a relevant item."""
    found, total = metrics.hits(lists, relevant.rows, relevant.items, n_items=n_items)
    return float(np.nanmean(metrics.ndcg(found, total, K)))


def sweep(
    model: Factors,
    holdout: Holdout,
    catalogue: Catalogue,
    strengths: Sequence[float],
    *,
    batch: int,
    device: torch.device,
) -> Iterator[Outcome]:
    """Yield what each strength does, the users folded in once."""
    users = fold_in(model, holdout.histories, device=device)
    n_items = len(catalogue.is_tail)
    for strength in strengths:
        shown = lists(replace(model, tail_strength=strength), users, holdout, batch=batch, device=device)
        covered = exposure.OF_EXPOSURE["tail_coverage"](exposure_of(shown, catalogue), catalogue.is_tail)
        yield Outcome(strength, mean_ndcg(shown, holdout.relevant, n_items=n_items), float(covered))


def choose(outcomes: Sequence[Outcome], *, max_ndcg_loss: float) -> Outcome:
    """The outcome with the largest tail coverage among those within the relative loss of the best NDCG.

    Ties go to the better NDCG, then to the smaller strength.
    """
    best = max(outcome.ndcg for outcome in outcomes)
    allowed = [outcome for outcome in outcomes if outcome.ndcg >= best * (1 - max_ndcg_loss)]
    return max(allowed, key=lambda outcome: (outcome.tail_coverage, outcome.ndcg, -outcome.strength))
