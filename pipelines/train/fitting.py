"""Train a model, with its figures on valid after every epoch; with given settings, or the best of a search."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models
from models.compute.distributed import Ranks, Traffic
from models.evaluation.metric import Catalogue
from models.inference.factors import Factors
from models.ranking.fold_in import fold_in
from models.training import dimension
from models.training.neighbour_anchor import NeighbourAnchor
from models.training.trainers import Trainer, trainer
from models.tuning.tail_setting import Holdout, lists, mean_ndcg
from pipelines.runtime.console import progress, say
from pipelines.settings.train import Train
from pipelines.train import search
from pipelines.train.data import TrainingData
from pipelines.train.search import Range, Score, Trial
from pipelines.workspace import git

BATCH_USERS = 1024


def resolved(params: Train, data: TrainingData) -> Train:
    """Return `params` with a dimension by the size of the data if none is set."""
    if params.of("als")["embedding_dim"] is not None:
        return params
    users, items = (len(np.unique(idx)) for idx in (data.interactions.user_idx, data.interactions.item_idx))
    d = dimension.suited(len(data.interactions.user_idx), users, items)
    low, high = params.search.space.get("embedding_dim", (d, d)) if params.search.trials else (d, d)
    return params.with_family("als", embedding_dim=int(np.clip(d, low, high)))


def start(params: Train, data: TrainingData, *, device: torch.device, group: Ranks | None = None) -> Trainer:
    """Return the model, ready to be trained by this process alone, or as one of a group."""
    anchor = NeighbourAnchor(
        torch.from_numpy(data.embeddings).to(device),
        strength=params.anchor,
        ridge=params.anchor_ridge,
        share=params.anchor_neighbours,
    )
    return trainer(
        params.hyperparameters(), data.interactions, anchor if params.anchor else None, device=device, ranks=group
    )


def fit(model: Trainer, data: TrainingData, *, epochs: int) -> Iterator[tuple[dict[str, Any], Factors]]:
    """Train; yield a row of training.csv and the model after every epoch."""
    group = getattr(model, "ranks", None)
    traffic: Traffic | None = group.traffic if group is not None and group.size > 1 else None
    before = Traffic()
    started = time.perf_counter()
    for epoch in progress("train", model.epochs(), total=epochs, unit="epochs"):
        seconds = time.perf_counter() - started  # training time alone, without the figures below
        factors = model.factors()
        ndcg, _ = figures(factors, data.watched, data.catalogue, device=model.device)
        row = {
            "epoch": epoch.number,
            "loss": round(epoch.loss, 6),
            "valid_ndcg": round(ndcg, 6),
            "seconds": round(seconds, 3),
            **({} if traffic is None else exchanged(traffic, since=before)),
        }
        before = before if traffic is None else replace(traffic)
        yield row, factors
        started = time.perf_counter() - seconds


def best_epoch(fitted: Iterable[tuple[dict[str, Any], Factors]]) -> tuple[list[dict[str, Any]], Factors]:
    """Return rows of training.csv, and the model of the best epoch on valid; the earlier one in case of a tie."""
    rows: list[dict[str, Any]] = []
    best: Factors | None = None
    for row, factors in fitted:
        if best is None or row["valid_ndcg"] > max(known["valid_ndcg"] for known in rows):
            best = factors
        rows.append(row)
    if best is None:
        raise ValueError("training ended before its first epoch; raise the model's epochs")
    chosen = max(rows, key=lambda row: row["valid_ndcg"])
    return [row | {"chosen": int(row is chosen)} for row in rows], best


def exchanged(traffic: Traffic, *, since: Traffic) -> dict[str, float]:
    """Return the data this rank received in an epoch, and the seconds it spent exchanging and waiting."""
    return {
        "received_bytes": traffic.received_bytes - since.received_bytes,
        "exchange_seconds": round(traffic.seconds - since.seconds, 3),
    }


def figures(model: Factors, holdout: Holdout, catalogue: Catalogue, *, device: torch.device) -> tuple[float, float]:
    """Return NDCG@10 on a holdout, of all items and of tail items alone; the latter 0 without relevant tail items."""
    users = fold_in(model, holdout.histories, device=device)
    shown = lists(model, users, holdout, batch=BATCH_USERS, device=device)
    n_items, tail = len(model.item_factors), holdout.relevant.among(catalogue.is_tail)
    return (
        mean_ndcg(shown, holdout.relevant, n_items=n_items),
        mean_ndcg(shown, tail, n_items=n_items) if len(tail.rows) else 0.0,
    )


def searched(params: Train, data: TrainingData, inputs: Mapping[str, str], *, device: torch.device) -> list[Trial]:
    """Run the trials of `params.search`; finished trials of an interrupted search with the same inputs are reused.

    inputs: sha256 of every input file.
    """

    def scores(tried: search.Settings) -> Iterator[Score]:
        model = start(params.with_settings(tried), data, device=device)
        for _ in model.epochs():
            factors = model.factors()
            yield score(params, *figures(factors, data.holdout, data.catalogue, device=device))

    kept = journal(params, inputs)
    running = search.search(
        space(params),
        [params.settings()],
        scores,
        trials=params.search.trials,
        epochs=params.settings()["epochs"],
        seed=params.seed,
        journal=kept,
    )
    with git.held(kept.with_suffix(".lock")):  # the same search in another worktree reuses these trials
        trials = list(progress("train: search", running, total=params.search.trials, unit="trials"))
    best = search.best(trials)
    say("train", f"search: trial {best.number} of {len(trials)} is best, objective {best.objective:.4f} against "
                 f"{trials[0].objective:.4f} of params.yaml: {described(best)}")  # fmt: skip
    return trials


def space(params: Train) -> dict[str, Range]:
    """Return the search space: integers if the setting is one, logarithmic if the lower bound is above 0."""
    whole = params.integers()
    return {
        name: Range(low, high, log=low > 0, integer=name in whole) for name, (low, high) in params.search.space.items()
    }


def score(params: Train, ndcg: float, tail_ndcg: float) -> Score:
    """Return NDCG@10 plus weighted tail NDCG@10; below the floor always less than above it, less with distance."""
    objective = ndcg + params.search.tail_weight * tail_ndcg
    if not tail_ndcg >= params.search.min_tail_ndcg:
        objective = tail_ndcg - params.search.min_tail_ndcg - 1
    return Score(objective, {"ndcg": ndcg, "tail_ndcg": tail_ndcg})


def chosen(params: Train, trials: Sequence[Trial]) -> Train:
    """Return `params` with the settings of the best trial, including its best number of epochs."""
    best = search.best(trials)
    return params.with_settings({**best.settings, "epochs": best.best_epoch})


def described(trial: Trial) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in {**trial.settings, "epochs": trial.best_epoch}.items())


def journal(params: Train, inputs: Mapping[str, str]) -> Path:
    """Return the journal's path for these inputs and settings, without the budget, which may grow."""
    about = params.model_dump(exclude={"rerank": True, "search": {"trials"}})
    code = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(MODELS.rglob("*.py"))]
    text = json.dumps([about, sorted(inputs.values()), code], sort_keys=True)
    return git.state_folder() / "searches" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.jsonl"


def rows(trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    """Return the rows of search.csv."""
    best = search.best(trials)
    for trial in trials:
        yield {
            "trial": trial.number,
            **trial.settings,
            "epochs": trial.best_epoch,
            "objective": trial.objective if np.isfinite(trial.objective) else "",
            "valid_ndcg": trial.figures.get("ndcg", ""),
            "valid_tail_ndcg": trial.figures.get("tail_ndcg", ""),
            "state": "failed" if trial.error else "stopped early" if trial.pruned else "complete",
            "seconds": trial.seconds,
            "chosen": int(trial is best),
        }


MODELS = Path(models.__file__).parent
