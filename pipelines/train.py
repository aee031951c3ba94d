"""data/train: model.safetensors, training.csv (a row per epoch) and pareto.csv (a row per way of re-ranking)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.sparse import csr_array

from models.als import Als, Interactions, Settings
from models.anchor import TextAnchor
from models.device import choose
from models.evaluation import Catalogue, Relevant
from models.fold_in import fold_in
from models.tail_setting import Holdout, Outcome, front, lists, mean_ndcg, sweep
from models.tail_setting import choose as choose_reranking
from pipelines import _artifacts as artifacts
from pipelines import _embeddings
from pipelines import _model as model_file
from pipelines import _tables as tables
from pipelines._params import Train, load
from pipelines._stage import progress, run, say

VALID_USERS = 5000  # at most so many of them are ranked for an epoch's figure and for choosing how to re-rank ...
CROWD_USERS = 5000  # ... at most so many users' lists say how often an item is shown ...
BATCH_USERS = 1024  # ... so many at a time


def main() -> None:
    params = load(Train)
    device = choose(params.device)
    with artifacts.stage("train") as stage:
        train = tables.read(stage.input("split", "train.parquet"), ["user_idx", "item_idx"])
        valid = tables.read(stage.input("split", "valid.parquet"), ["user_idx", "item_idx"])
        items = tables.read(stage.input("split", "items.parquet"), ["popularity", "is_tail", "is_cold"])
        tail = artifacts.read_json(stage.input("split", "holdout.json"))["tail_sha256"]
        embeddings, encoder = _embeddings.read(stage.input("embed", _embeddings.NAME), n_items=items.num_rows)
        interactions, histories = to_interactions(train, n_items=items.num_rows)
        holdout = to_holdout(histories, valid, seed=params.seed)
        catalogue = to_catalogue(items, n_users=interactions.n_users)

        anchor = TextAnchor(torch.from_numpy(embeddings).to(device), strength=params.anchor, ridge=params.anchor_ridge)
        als = Als(interactions, anchor if params.anchor else None, settings(params), device=device)
        tables.write_csv(stage.output("training.csv"), fit(als, holdout, params.epochs))

        model = als.factors(tail_strength=0.0)
        strengths = params.rerank.model_dump(exclude={"max_ndcg_loss"})
        crowd = sample(histories, CROWD_USERS, seed=params.seed)
        outcomes = list(sweep(model, crowd, holdout, catalogue, strengths, batch=BATCH_USERS, device=device))
        chosen = choose_reranking(outcomes, max_ndcg_loss=params.rerank.max_ndcg_loss)
        tables.write_csv(stage.output("pareto.csv"), pareto(outcomes, chosen))
        say("train", f"re-ranking {chosen.how.method} {chosen.how.strength}: valid ndcg@10 {chosen.ndcg:.4f} "
                     f"({-chosen.loss:+.1%}), tail coverage@10 {chosen.tail_coverage:.3f} "
                     f"({outcomes[0].tail_coverage:.3f} without)")  # fmt: skip
        model_file.write(
            replace(model, rerank=chosen.how),
            stage.output("model.safetensors"),
            provenance={"encoder": encoder, "tail_sha256": tail, "params": params.model_dump()},
        )


def settings(params: Train) -> Settings:
    return Settings(
        embedding_dim=params.embedding_dim,
        epochs=params.epochs,
        unobserved_weight=params.unobserved_weight,
        regularization=params.regularization,
        frequency_exponent=params.frequency_exponent,
        cg_steps=params.cg_steps,
        seed=params.seed,
    )


def to_interactions(train: pa.Table, *, n_items: int) -> tuple[Interactions, csr_array[Any]]:
    """The training pairs as ALS takes them, and as a sparse (n_users, n_items) matrix of ones."""
    users, items = (np.array(train[name].to_numpy()) for name in ("user_idx", "item_idx"))
    n_users = int(users.max()) + 1 if len(users) else 0  # every user of the index has a train interaction
    interactions = Interactions(users, items, np.ones(len(users), np.float32), n_users, n_items)
    return interactions, csr_array((interactions.weights, (users, items)), shape=(n_users, n_items))


def to_holdout(histories: csr_array[Any], valid: pa.Table, *, seed: int) -> Holdout:
    """The valid pairs of at most VALID_USERS users, drawn under the seed. Raises ValueError where there is none."""
    users, items = valid["user_idx"].to_numpy(), valid["item_idx"].to_numpy()
    present = np.unique(users)
    if len(present) == 0:
        raise ValueError("valid.parquet has 0 rows of users that train knows, expected some; raise split.valid")
    if len(present) > VALID_USERS:
        present = np.sort(np.random.default_rng(seed).choice(present, VALID_USERS, replace=False))
    keep = np.isin(users, present)
    return Holdout(histories[present], Relevant(np.searchsorted(present, users[keep]), items[keep]))


def sample(histories: csr_array[Any], n: int, *, seed: int) -> csr_array[Any]:
    """At most n of the rows, drawn under the seed."""
    if histories.shape[0] <= n:
        return histories
    return histories[np.sort(np.random.default_rng(seed).choice(histories.shape[0], n, replace=False))]


def to_catalogue(items: pa.Table, *, n_users: int) -> Catalogue:
    is_tail, is_cold = (items[name].to_numpy(zero_copy_only=False) for name in ("is_tail", "is_cold"))
    return Catalogue(items["popularity"].to_numpy(), is_tail, is_cold, n_users)


def fit(als: Als, holdout: Holdout, epochs: int) -> Iterator[dict[str, Any]]:
    """Train; yields a row of training.csv per epoch."""
    started = time.perf_counter()
    for epoch in progress("train", als.epochs(), total=epochs, unit="epochs"):
        seconds = time.perf_counter() - started  # of training alone, without the figure below
        yield {
            "epoch": epoch.number,
            "loss": round(epoch.loss, 6),
            "valid_ndcg": round(valid_ndcg(als, holdout), 6),
            "seconds": round(seconds, 3),
        }
        started = time.perf_counter() - seconds


def valid_ndcg(als: Als, holdout: Holdout) -> float:
    """NDCG@10 on valid of the model as it is after the latest epoch."""
    model = als.factors(tail_strength=0.0)
    users = fold_in(model, holdout.histories, device=als.device)
    shown = lists(model, users, holdout, batch=BATCH_USERS, device=als.device)
    return mean_ndcg(shown, holdout.relevant, n_items=len(model.item_factors))


def pareto(outcomes: Sequence[Outcome], chosen: Outcome) -> Iterator[dict[str, Any]]:
    """Rows of pareto.csv: what every way of re-ranking does on valid, all figures at 10."""
    for outcome, best in zip(outcomes, front(outcomes), strict=True):
        yield {
            "method": outcome.how.method,
            "strength": outcome.how.strength,
            "valid_ndcg": round(outcome.ndcg, 6),
            "valid_tail_ndcg": round(outcome.tail_ndcg, 6),
            "valid_tail_coverage": round(outcome.tail_coverage, 6),
            "loss": round(outcome.loss, 6),
            "loss_error": round(outcome.loss_error, 6),
            "front": int(best),
            "chosen": int(outcome is chosen),
        }


if __name__ == "__main__":
    run(main, "train")
