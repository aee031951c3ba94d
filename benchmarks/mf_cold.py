"""Items without interactions: recall among all items, and among cold items only.

`python -m benchmarks.mf_cold [--data NAME or folder ...] [--dims D ...] [--withheld SHARE]`. A seeded share of the
items is withheld from training entirely; their pairs in valid and test remain. Heights are chosen on train and valid
alone, figures are of test: histories are of train, ranks over the whole catalogue (`cold_recall_among_cold`: over its
cold items), without seen items. `loss` is the relative loss of NDCG@10 against the model as it was trained.

`content` ranks by cosine with the mean text of the history. `as trained` is ALS with the settings of `params.yaml` and
cold items with factors predicted by ridge regression; `neighbours` predicts them from similar items too; `raised` adds
the bonus of the pipeline.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from benchmarks._datasets import HEAD, NAMES, ROOT, Dataset, Floats, embeddings, read
from models.evaluation import measure
from models.evaluation.holdout import head_items
from models.evaluation.metric import Catalogue
from models.inference.factors import Factors
from models.ranking import baselines
from models.ranking.fold_in import fold_in
from models.ranking.ranking import Rows, Scorer, recommend
from models.ranking.seen import Seen
from models.training.als import Als, Interactions
from models.training.neighbour_anchor import NeighbourAnchor
from models.training.settings import Als as Settings
from models.tuning import cold_items
from pipelines.settings.document import load
from pipelines.settings.train import Train

CPU = torch.device("cpu")
COLUMNS = ("ndcg@10", "recall@20", "tail_recall@20", "cold_recall@20", "cold_recall_among_cold@20")
DIMS = (128, 512)
WITHHELD = 0.1
SEED = 42
BATCH = 1024


def rows(
    names: Sequence[str] = NAMES, *, dims: Sequence[int] = DIMS, withheld: float = WITHHELD
) -> Iterator[dict[str, Any]]:
    """Yield a row per data set, dimension and way of ranking cold items."""
    for name in names:
        data = withhold(read(name), withheld)
        texts = embeddings(data.texts)
        yield {"data": data.name, "d": None, "model": "content"} | figures(content(data, texts), data)
        for d in dims:
            base: float | None = None
            for model, factors in models(data, texts, d):
                users = fold_in(factors, data.train, device=CPU)
                found = figures(baselines.factors(factors, users, device=CPU), data)
                base = base or found["ndcg@10"]
                found |= {"loss": round(1 - found["ndcg@10"] / base, 4)}
                yield {"data": data.name, "d": d, "model": model} | found


def withhold(data: Dataset, share: float) -> Dataset:
    """Return the data without train pairs of a seeded share of the items."""
    n_items = data.train.shape[1]
    gone = np.random.default_rng(SEED).random(n_items) < share
    kept = data.train.tocoo()
    keep = ~gone[kept.col]
    train = csr_array((kept.data[keep], (kept.row[keep], kept.col[keep])), shape=kept.shape)
    popularity = np.bincount(train.indices, minlength=n_items)
    catalogue = Catalogue(popularity, ~head_items(popularity, HEAD), popularity == 0, train.shape[0])
    return replace(data, train=train, catalogue=catalogue)


def models(data: Dataset, texts: Floats, d: int) -> Iterator[tuple[str, Factors]]:
    """Yield the model as trained, then with each step of the correction."""
    params = load(Train, ROOT / "params.yaml")
    pairs = data.train.tocoo()
    order = np.lexsort((pairs.col, pairs.row))
    users, items = (side[order].astype(np.int32) for side in (pairs.row, pairs.col))
    interactions = Interactions(users, items, np.ones(len(users), np.float32), *data.train.shape)
    settings = Settings(**params.of("als") | {"embedding_dim": d, "seed": SEED})
    anchor = NeighbourAnchor(
        torch.from_numpy(texts), strength=params.anchor, ridge=params.anchor_ridge, share=params.anchor_neighbours
    )
    als = Als(interactions, anchor if params.anchor else None, settings, device=CPU)
    for _ in als.epochs():
        pass
    trained = als.factors()
    yield "as trained", trained
    yield "neighbours", replace(cold_items.predicted(trained, texts), cold=None)
    present, relevant = relevant_in(data, "valid")
    raised, _ = cold_items.correct(
        trained, texts, data.train[present], relevant, max_ndcg_loss=params.cold_max_ndcg_loss, seed=SEED, device=CPU
    )
    yield f"raised to {raised.cold.height}" if raised.cold else "not raised", raised


def relevant_in(data: Dataset, part: str) -> tuple[Rows, measure.Relevant]:
    """Return the users (b,) with pairs in valid or test, and these pairs by row of these users."""
    pairs = (data.valid if part == "valid" else data.test).tocoo()
    present, row = np.unique(pairs.row, return_inverse=True)
    return present.astype(np.int64), measure.Relevant(row, pairs.col)


def content(data: Dataset, texts: Floats) -> Scorer:
    """Score every item's text by the cosine with the mean text of the history."""
    means = data.train @ texts
    users = torch.from_numpy(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9))
    items = torch.from_numpy(texts)  # unit vectors
    return lambda rows: users[torch.from_numpy(rows)] @ items.T


def figures(scorer: Scorer, data: Dataset) -> dict[str, float]:
    """Return the metrics on test, means over users with pairs in it."""
    present, relevant = relevant_in(data, "test")
    cold = data.catalogue.is_cold
    lists, among_cold = (
        np.concatenate(list(recommend(scorer, Seen(data.seen("test")), rows=present, allowed=some, k=20, batch=BATCH)))
        for some in (np.ones(len(cold), np.bool_), cold)
    )
    result = measure.evaluate(lists, among_cold, relevant, data.catalogue, ks=(10, 20))
    summary = measure.summary(result, data.catalogue, ks=(10, 20))
    return {column: round(summary[column], 4) for column in COLUMNS if column in summary}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", default=NAMES, help="names of data sets, or their folders")
    parser.add_argument("--dims", nargs="+", type=int, default=DIMS)
    parser.add_argument("--withheld", type=float, default=WITHHELD, help="share of the items")
    args = parser.parse_args()
    columns = ("data", "d", "model", *COLUMNS, "loss")
    print("|", " | ".join(columns), "|")
    print("|---" * len(columns) + "|")
    for found in rows(args.data, dims=args.dims, withheld=args.withheld):
        print(
            "|",
            " | ".join(str("" if found.get(column) is None else found[column]) for column in columns),
            "|",
            flush=True,
        )


if __name__ == "__main__":
    main()
