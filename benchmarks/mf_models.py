"""The models of `train.model` with the settings of params.yaml: accuracy and tail on test, seconds of training.

`python -m benchmarks.mf_models [--data NAME or folder ...] [--part valid]`. Users are folded in from their train
history, ranks are over the whole catalogue without seen items and without re-ranking; all models have the texts. The
settings of models trained by gradient descent suit 40,000 pairs: with more, their minibatches grow in proportion, so
that an epoch has about as many steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks._datasets import NAMES, ROOT, Dataset, Floats, embeddings, read
from models.evaluation import measure
from models.ranking import baselines
from models.ranking.fold_in import fold_in
from models.ranking.ranking import Scorer, recommend
from models.ranking.seen import Seen
from models.training.interactions import Interactions
from models.training.settings import FAMILIES
from models.tuning.tail_setting import Holdout
from pipelines.settings.document import load
from pipelines.settings.train import Train
from pipelines.train import fitting
from pipelines.train.data import TrainingData

CPU = torch.device("cpu")
KS = (10, 20)
COLUMNS = ("ndcg@10", "recall@20", "tail_ndcg@10", "tail_recall@20", "tail_coverage@10")
PAIRS = 40_000  # of training, suited to the batch sizes in params.yaml


def rows(
    names: Sequence[str] = NAMES, *, models: Sequence[str] = tuple(FAMILIES), part: str = "test"
) -> Iterator[dict[str, Any]]:
    """Yield a row per data set and model, popularity first."""
    params = load(Train, ROOT / "params.yaml")
    for name in names:
        data = read(name)
        given = to_training_data(data, embeddings(data.texts))
        popular = baselines.popularity(data.catalogue.users_of_item)
        yield {"data": data.name, "model": "popularity", **figures(popular, data, part)}
        for model in models:
            started = time.perf_counter()
            chosen = fitting.resolved(suited(params, model, n_pairs=data.train.nnz), given)
            trainer = fitting.start(chosen, given, device=CPU)
            for _ in trainer.epochs():
                pass
            factors = trainer.factors()
            seconds = round(time.perf_counter() - started, 1)
            scorer = baselines.factors(factors, fold_in(factors, data.train, device=CPU), device=CPU)
            found = {"data": data.name, "model": model, "d": factors.item_factors.shape[1]}
            yield found | figures(scorer, data, part) | {"seconds": seconds}


def to_training_data(data: Dataset, texts: Floats) -> TrainingData:
    """Convert a data set to the train stage's input."""
    pairs = data.train.tocoo()
    users, items = (side.astype(np.int32) for side in (pairs.row, pairs.col))
    interactions = Interactions(users, items, data.train.data, *data.train.shape)
    valid = data.valid.tocoo()
    holdout = Holdout(data.train, measure.Relevant(valid.row, valid.col))
    return TrainingData(interactions, data.train, holdout, holdout, data.catalogue, texts, "", "")


def suited(params: Train, model: str, *, n_pairs: int) -> Train:
    """Return the params of a model, with minibatches for so many pairs."""
    picked = params.model_copy(update={"model": model})
    given = picked.of(model)
    if "batch_pairs" not in given:
        return picked
    return picked.with_family(model, batch_pairs=given["batch_pairs"] * max(1, round(n_pairs / PAIRS)))


def figures(scorer: Scorer, data: Dataset, part: str) -> dict[str, float]:
    """Return the metrics over users with pairs in a part, valid or test. The scorer's rows are all users."""
    judged = (data.valid if part == "valid" else data.test).tocoo()
    users, row_of = np.unique(judged.row.astype(np.int64), return_inverse=True)
    every = np.ones(data.train.shape[1], np.bool_)
    seen = Seen(data.seen(part))
    lists = np.concatenate(list(recommend(scorer, seen, rows=users, allowed=every, k=max(KS), batch=1024)))
    result = measure.evaluate(
        lists, np.full_like(lists, -1), measure.Relevant(row_of, judged.col), data.catalogue, ks=KS
    )
    summary = measure.summary(result, data.catalogue, ks=KS)
    return {column: round(summary[column], 4) for column in COLUMNS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(NAMES), help="names in the folder of data sets, or folders")
    parser.add_argument("--models", nargs="+", choices=list(FAMILIES), default=list(FAMILIES), help="(default: all)")
    parser.add_argument("--part", choices=["valid", "test"], default="test", help="(default: %(default)s)")
    arguments = parser.parse_args()
    columns = ("data", "model", "d", *COLUMNS, "seconds")
    print("|", " | ".join(columns), "|")
    print("|---" * len(columns) + "|")
    for found in rows(arguments.data, models=arguments.models, part=arguments.part):
        print("|", " | ".join(str(found.get(column, "")) for column in columns), "|", flush=True)


if __name__ == "__main__":
    main()
