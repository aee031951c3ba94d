"""Accuracy and tail of ALS against EASE, implicit ALS and item-kNN, all tuned with the same number of trials on valid.

`python -m benchmarks.mf_quality [--data NAME or folder ...] [--trials N]`. Each model's first trial is its defaults (of
implicit ALS: the equivalent of Longtail's), the others are drawn from its ranges; the trial with the best NDCG@10 on
valid is judged on test. Histories are of train alone, ranks over the whole catalogue, without seen items (for test,
also those of valid). `longtail, tail ...` re-ranks the same model as the pipeline does: for the largest tail coverage
on valid with a loss of at most `rerank.max_ndcg_loss`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc

from benchmarks import _peers as peers
from benchmarks._datasets import NAMES, ROOT, Dataset, Floats, Matrix, embeddings, read
from models.evaluation import measure
from models.evaluation.metric import Lists
from models.inference.factors import Factors
from models.ranking import baselines, ranking
from models.ranking.fold_in import fold_in
from models.ranking.ranking import Scorer, recommend
from models.ranking.seen import Seen
from models.training import dimension
from models.training.als import Als, Interactions
from models.training.neighbour_anchor import NeighbourAnchor
from models.training.settings import Als as Settings
from models.tuning import tail_setting
from pipelines.settings.document import load
from pipelines.settings.train import Train

CPU = torch.device("cpu")
KS = (10, 20)
COLUMNS = ("ndcg@10", "recall@20", "tail_ndcg@10", "tail_recall@20", "tail_coverage@10")
TRIALS = 6
BATCH = 1024
SEED = 42
Choice = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """Search range of a setting: between two numbers on a log scale, or among values."""

    bounds: tuple[float, float] | None = None
    among: Sequence[Any] = ()

    def at(self, share: float) -> Any:
        """Return the value at a share in [0, 1) of the range."""
        if self.bounds is None:
            return self.among[int(share * len(self.among))]
        low, high = np.log(self.bounds)
        return float(np.exp(low + share * (high - low)))


@dataclass(frozen=True)
class Contender:
    """A model: its defaults, its search ranges, and a function from settings to a scorer of the train histories."""

    name: str
    defaults: Choice
    ranges: Mapping[str, Range]
    fit: Callable[..., Scorer | Factors]

    def trials(self, n: int) -> Iterator[Choice]:
        """Yield the defaults, then n - 1 points spread evenly over the ranges (Halton 1960), the same at every call."""
        yield self.defaults
        points = qmc.Halton(len(self.ranges), rng=SEED).random(n - 1)
        for point in points:
            drawn = {name: span.at(share) for (name, span), share in zip(self.ranges.items(), point, strict=True)}
            yield {**self.defaults, **drawn}


def contenders(data: Dataset, texts: Floats) -> Iterator[Contender]:
    """Yield all models, for one data set; those of large dimension share Longtail's."""
    params = load(Train, ROOT / "params.yaml")
    d = dimension.suited(data.train.nnz, *(len(np.unique(side)) for side in data.train.nonzero()))
    of_implicit = {  # equivalent to Longtail's ranges
        "alpha": Range((4.0, 35.0)), "regularization": Range((3.0, 200.0)), "iterations": Range(among=(4, 8, 15)),
    }  # fmt: skip
    theirs = partial(peers.implicit_als, data.train, seed=SEED)
    yield Contender("ease", {"regularization": 200.0}, {"regularization": Range((50.0, 800.0))},
                    partial(peers.ease, data.train))  # fmt: skip
    yield Contender(
        "item-kNN", {"weighting": "cosine", "neighbours": 20},
        {"weighting": Range(among=("cosine", "tfidf", "bm25")), "neighbours": Range(among=(10, 20, 50, 100, 200, 500))},
        partial(peers.item_knn, data.train),
    )  # fmt: skip
    # Longtail's defaults in its objective; the library's own, alpha 1, are unsuitable for these data
    alpha = 1 / params.of("als")["unobserved_weight"]
    defaults = {"alpha": 1 + alpha, "regularization": alpha * params.of("als")["regularization"], "iterations": 8}
    yield Contender("implicit ALS", {**defaults, "dim": 128},
                    {**of_implicit, "dim": Range(among=(64, 128, 256))}, theirs)  # fmt: skip
    yield Contender("implicit ALS, same d", {**defaults, "dim": d}, of_implicit, theirs)
    ours = params.of("als") | {"embedding_dim": d, "seed": params.seed}
    tuned = {"unobserved_weight": Range((0.03, 0.3)), "regularization": Range((1.0, 6.0))}
    yield Contender("longtail", ours, tuned, partial(als, data.train, texts))


def als(train: Matrix, texts: Floats, **settings: Any) -> Factors:
    """Train Longtail's model."""
    params = load(Train, ROOT / "params.yaml")
    pairs = train.tocoo()
    interactions = Interactions(
        pairs.row.astype(np.int32), pairs.col.astype(np.int32), train.data, train.shape[0], train.shape[1]
    )
    anchor = NeighbourAnchor(
        torch.from_numpy(texts), strength=params.anchor, ridge=params.anchor_ridge, share=params.anchor_neighbours
    )
    model = Als(interactions, anchor if params.anchor else None, Settings(**settings), device=CPU)
    for _ in model.epochs():
        pass
    return model.factors()


def rows(names: Sequence[str] = NAMES, *, trials: int = TRIALS) -> Iterator[dict[str, Any]]:
    """Yield a row per data set and model."""
    for name in names:
        data = read(name)
        for contender in contenders(data, embeddings(data.texts)):
            valid, settings, fitted, seconds = best(contender, data, trials)
            scorer = to_scorer(fitted, data)
            found = {"data": data.name, "model": contender.name}
            said = {"valid_ndcg@10": round(valid, 4), "settings": shown(settings)}
            yield found | figures(lists(scorer, data, "test"), data) | {"seconds": round(seconds, 1)} | said
            if isinstance(fitted, Factors):
                slots, how = reranked(fitted, data)
                found["model"] += f", tail {how}"
                yield found | figures(slots, data) | {"seconds": round(seconds, 1)} | said


def best(contender: Contender, data: Dataset, trials: int) -> tuple[float, Choice, Scorer | Factors, float]:
    """Return NDCG@10 on valid, settings, model and seconds of the best trial, the earlier one of equals."""
    found: list[tuple[float, Choice, Scorer | Factors, float]] = []
    for settings in contender.trials(trials):
        started = time.perf_counter()
        fitted = contender.fit(**settings)
        scorer = to_scorer(fitted, data)
        seconds = time.perf_counter() - started
        ranked = lists(scorer, data, "valid")
        ndcg = tail_setting.mean_ndcg(ranked, relevant(data, "valid"), n_items=data.train.shape[1])
        found = [max([*found, (ndcg, settings, fitted, seconds)], key=lambda trial: trial[0])]
    return found[0]


def to_scorer(fitted: Scorer | Factors, data: Dataset) -> Scorer:
    """Return the scorer of the users of the train histories."""
    if isinstance(fitted, Factors):
        return baselines.factors(fitted, fold_in(fitted, data.train, device=CPU), device=CPU)
    return fitted


def lists(scorer: Scorer, data: Dataset, part: str) -> Lists:
    """Return the first 20 items of every user, (n_users, 20)."""
    everybody, every = np.arange(data.train.shape[0]), np.ones(data.train.shape[1], np.bool_)
    return np.concatenate(
        list(recommend(scorer, Seen(data.seen(part)), rows=everybody, allowed=every, k=max(KS), batch=BATCH))
    )


def relevant(data: Dataset, part: str) -> measure.Relevant:
    pairs = (data.valid if part == "valid" else data.test).tocoo()
    return measure.Relevant(pairs.row, pairs.col)


def figures(found: Lists, data: Dataset) -> dict[str, float]:
    """Return the metrics of lists (n_users, 20) on test, means over users with pairs in it."""
    judged = np.unique(relevant(data, "test").rows)
    pairs = measure.Relevant(np.searchsorted(judged, relevant(data, "test").rows), relevant(data, "test").items)
    ranked = found[judged]
    result = measure.evaluate(ranked, np.full_like(ranked, -1), pairs, data.catalogue, ks=KS)
    summary = measure.summary(result, data.catalogue, ks=KS)
    return {column: round(summary[column], 4) for column in COLUMNS}


def reranked(model: Factors, data: Dataset) -> tuple[Lists, str]:
    """Return lists (n_users, 20) for test, re-ranked by the setting chosen on valid, and its name."""
    params = load(Train, ROOT / "params.yaml").rerank
    everybody = tail_setting.Holdout(data.train, relevant(data, "valid"))
    strengths = params.model_dump(exclude={"max_ndcg_loss"})
    outcomes = list(
        tail_setting.sweep(model, data.train, everybody, data.catalogue, strengths, batch=BATCH, device=CPU)
    )
    how = tail_setting.choose(outcomes, max_ndcg_loss=params.max_ndcg_loss).how
    users, every = np.arange(data.train.shape[0]), np.ones(data.train.shape[1], np.bool_)
    parts = ranking.reranked(
        to_scorer(model, data), Seen(data.seen("test")), how,
        histories=data.train, rows=users, allowed=every, k=max(KS), batch=BATCH,
    )  # fmt: skip
    return np.concatenate(list(parts)), f"{how.method} {how.strength:g}"


def shown(settings: Choice) -> str:
    return ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                     for key, value in settings.items() if key != "seed")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(NAMES), help="names in the folder of data sets, or folders")
    parser.add_argument("--trials", type=int, default=TRIALS, help="trials per model (default: %(default)s)")
    arguments = parser.parse_args()
    columns = ("data", "model", *COLUMNS, "seconds", "valid_ndcg@10", "settings")
    print("|", " | ".join(columns), "|")
    print("|---" * len(columns) + "|")
    for found in rows(arguments.data, trials=arguments.trials):
        print("|", " | ".join(str(found[column]) for column in columns), "|", flush=True)


if __name__ == "__main__":
    main()
