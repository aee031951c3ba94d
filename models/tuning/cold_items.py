"""Level of items without interactions: as high as valid accuracy allows, tested on warm items treated as cold.

A seeded share of the warm items is treated as cold: the map from text to factors is fitted without them, their factors
are predicted from text, and users are folded in without them. The chosen height (`inference.cold_level`) has the
largest recall of them with an NDCG loss within the limit, in this test and on the real catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from models.evaluation import accuracy
from models.evaluation.measure import Relevant
from models.inference.cold_level import ColdLevel
from models.inference.factors import Factors
from models.inference.text_neighbours import Neighbours
from models.ranking import baselines, ranking
from models.ranking.fold_in import fold_in
from models.ranking.seen import Seen

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SHARE = 0.1  # of the warm items are treated as cold
SUPPORT = 50_000  # at most so many items, the most popular ones, correct predictions of similar texts
RIDGE = 0.003  # relative to the variance of texts
K = 20
BATCH = 1024  # users to rank at a time
HEIGHTS = np.linspace(-0.5, 1.5, 41).round(2).tolist()
TYPICAL = 2000  # number of predictions for mean and covariance


@dataclass(frozen=True)
class Outcome:
    """Figures of a height on valid."""

    height: float
    ndcg: float  # @10, on the real catalogue
    cold_recall: float  # @20, of the items treated as cold, among all items
    loss: float  # of NDCG@10, relative to no bonus: the larger one of test and real catalogue
    loss_error: float  # its standard error, over users


def correct(
    model: Factors, embeddings: Floats, histories: csr_array[Any], relevant: Relevant,
    *, max_ndcg_loss: float, seed: int, device: torch.device,
) -> tuple[Factors, list[Outcome]]:  # fmt: skip
    """Return the model with new predictions and a new level of items without interactions, and all heights' figures.

    embeddings: (n, t), zero rows without text; histories: (n_users, n) of the users of a holdout, before their
    `relevant` pairs. Without text nothing changes; if no height is within the loss limit, the bonus is 0.
    """
    warm, has_text = model.popularity_bias > 0, embeddings.any(axis=1)
    if (warm & has_text).sum() < 2:
        return model, []
    treated = draw(np.flatnonzero(warm & has_text), seed=seed)
    without_pairs = predicted(without(model, treated), embeddings)
    known = histories.copy()
    known.data[np.isin(known.indices, treated)] = 0
    known.eliminate_zeros()
    everything = predicted(model, embeddings)
    both = [
        rank(without_pairs, known, histories, relevant, allowed=warm, device=device),
        rank(everything, histories, histories, relevant, allowed=np.ones(len(warm), np.bool_), device=device),
    ]
    outcomes = [outcome(height, *both) for height in HEIGHTS]
    chosen = choose(outcomes, max_ndcg_loss=max_ndcg_loss)
    if chosen is None or everything.cold is None:
        return replace(everything, cold=None), outcomes
    return replace(everything, cold=replace(everything.cold, height=chosen.height)), outcomes


def choose(outcomes: Sequence[Outcome], *, max_ndcg_loss: float) -> Outcome | None:
    """Return the outcome of largest cold recall within the loss limit, one standard error included.

    Ties go to the lower height; None if every height loses more.
    """
    allowed = [outcome for outcome in outcomes if outcome.loss + outcome.loss_error <= max_ndcg_loss]
    return max(allowed, key=lambda outcome: (outcome.cold_recall, -outcome.height), default=None)


def draw(items: npt.NDArray[np.int64], *, seed: int) -> npt.NDArray[np.int64]:
    """Draw a seeded share of the items, at least one and not all of them."""
    wanted = min(max(1, round(SHARE * len(items))), len(items) - 1)
    return np.sort(np.random.default_rng(seed).choice(items, wanted, replace=False))


def without(model: Factors, treated: npt.NDArray[np.int64]) -> Factors:
    """Return the model as if the items `treated` had no interactions; their factors are not changed yet."""
    gone = model.item_factors[treated].astype(np.float64)
    bias = model.popularity_bias.copy()
    bias[treated] = 0
    return replace(
        model,
        gram=(model.gram - gone.T @ gone).astype(np.float32),
        n_warm_items=model.n_warm_items - len(treated),
        popularity_bias=bias,
    )


def predicted(model: Factors, embeddings: Floats) -> Factors:
    """Return the model with the map from text to factors fitted to its warm items, and all other items predicted.

    First by a ridge regression with equal weights, then corrected by neighbours.
    """
    warm, has_text = model.popularity_bias > 0, embeddings.any(axis=1)
    fitted = np.flatnonzero(warm & has_text)
    mean = embeddings[fitted].mean(axis=0)
    support = fitted[np.argsort(-model.popularity_bias[fitted], kind="stable")[:SUPPORT]]
    mapped = replace(
        model,
        text_mean=mean,
        text_weights=ridge(embeddings[fitted] - mean, model.item_factors[fitted]),
        neighbours=Neighbours.of(support, embeddings[support] - mean),
    )
    item_factors = model.item_factors.copy()
    item_factors[~warm] = mapped.anchors(embeddings[~warm])
    sample = support[:: max(1, len(support) // TYPICAL)]
    typical = mapped.anchors(embeddings[sample], apart_from=sample).astype(np.float64)
    level = ColdLevel(
        anchored=~warm & has_text,
        mean=typical.mean(axis=0).astype(np.float32),
        covariance=np.cov(typical.T, bias=True).reshape(2 * (typical.shape[1],)).astype(np.float32),
        height=-np.inf,
    )
    return replace(mapped, item_factors=item_factors, cold=level)


def ridge(centred: Floats, targets: Floats) -> Floats:
    """Fit weights (t + 1, d), last row the intercept, from centred texts (m, t) to factors (m, d)."""
    mean = targets.mean(axis=0, dtype=np.float64)
    gram = (centred.T @ centred).astype(np.float64)
    gram.flat[:: len(gram) + 1] += RIDGE * max(np.trace(gram), np.finfo(np.float64).tiny)
    products = (centred.T @ (targets - mean.astype(np.float32))).astype(np.float64)
    return np.vstack([np.linalg.solve(gram, products), mean]).astype(np.float32)


@dataclass(frozen=True)
class Lists:
    """The best K warm and the best K cold items of every user, which can be merged to lists at any height."""

    scores: Doubles  # (b, 2 K), warm ones first, without bonus, padded with -inf
    hits: Bools  # (b, 2 K), mask of relevant items
    parts: tuple[Doubles, Doubles, Doubles]  # of the users, see `ColdLevel.parts`
    n_relevant: npt.NDArray[np.int64]  # (b,)
    n_cold: npt.NDArray[np.int64]  # (b,), cold ones among them

    def at(self, height: float) -> tuple[Bools, Bools]:
        """Return masks (b, K) of ranks with relevant items and with relevant cold items; height -inf: no cold ones."""
        mean, above, expected = self.parts
        bonus = mean + height * above - expected if np.isfinite(height) else np.full(len(mean), -np.inf)
        order = np.argsort(-np.hstack([self.scores[:, :K], self.scores[:, K:] + bonus[:, None]]), axis=1, kind="stable")
        hits = np.take_along_axis(self.hits, order[:, :K], axis=1)
        return hits, hits & (order[:, :K] >= K)

    def ndcg(self, height: float) -> Doubles:
        """Return NDCG@10 (b,), NaN for users without a relevant item."""
        return accuracy.ndcg(self.at(height)[0], self.n_relevant, 10)

    def cold_recall(self, height: float) -> float:
        """Return the mean recall@20 of relevant cold items over users with one; 0 without such users."""
        recalls = accuracy.recall(self.at(height)[1], self.n_cold, K)
        return float(np.nanmean(recalls)) if self.n_cold.any() else 0.0

    def loss(self, height: float) -> tuple[float, float]:
        """Return the relative loss of NDCG@10 against lists without cold items, and its standard error over users."""
        before = self.ndcg(-np.inf)
        lost = (before - self.ndcg(height))[~np.isnan(before)]
        scale = float(np.nanmean(before)) or 1.0  # without any hit there is no loss
        return float(lost.mean()) / scale, float(lost.std() / np.sqrt(len(lost))) / scale


def rank(
    model: Factors, histories: csr_array[Any], seen: csr_array[Any], relevant: Relevant,
    *, allowed: Bools, device: torch.device,
) -> Lists:  # fmt: skip
    """Rank for users folded in from `histories`, without items they have `seen` and items not `allowed` (n,)."""
    cold = model.cold
    if cold is None:
        raise ValueError("the model has no level of cold items; use the result of `predicted`")
    plain = replace(model, cold=None)
    users = fold_in(plain, histories, device=device)
    scorer, rows = baselines.factors(plain, users, device=device), np.arange(len(users))
    not_again = Seen(seen)
    sides = [
        np.concatenate(list(ranking.recommend(scorer, not_again, rows=rows, allowed=side & allowed, k=K, batch=BATCH)))
        for side in (~cold.anchored, cold.anchored)
    ]
    items, queries, vectors = np.hstack(sides), plain.queries(users), plain.item_vectors()
    scores = np.stack([vectors[listed] @ query for listed, query in zip(items, queries, strict=True)])
    counts = [
        accuracy.hits(items, found.rows, found.items, n_items=len(vectors))
        for found in (relevant, relevant.among(cold.anchored))
    ]
    (hits, n_relevant), (_, n_cold) = counts
    scores = np.where(items >= 0, scores.astype(np.float64), -np.inf)
    return Lists(scores, hits, cold.parts(users, plain.popular), n_relevant, n_cold)


def outcome(height: float, withheld: Lists, catalogue: Lists) -> Outcome:
    loss, error = max((lists.loss(height) for lists in (withheld, catalogue)), key=sum)
    ndcg = float(np.nanmean(catalogue.ndcg(height)))
    return Outcome(height, ndcg, withheld.cold_recall(height), loss, error)
