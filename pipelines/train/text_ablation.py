"""data/train/text_effect.csv: effect of the texts on accuracy and on the tail, on valid.

A small model is trained twice, with the texts and without, and evaluated on the same users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from models.evaluation.metric import Lists
from models.ranking.fold_in import fold_in
from models.tuning.tail_setting import lists, ndcg
from pipelines.settings.train import Train
from pipelines.train import fitting
from pipelines.train.data import TrainingData

DIM = 64  # sufficient for the effect; the chosen dimension would double the time of training
ERRORS = 2.0  # standard errors that a significant difference has to exceed


@dataclass(frozen=True)
class Effect:
    """Means over users of valid; the error is of the mean difference between the two models on the same users."""

    metric: str
    users: int
    with_text: float
    without_text: float
    standard_error: float

    @property
    def gain(self) -> float:
        return self.with_text - self.without_text

    @property
    def helps(self) -> bool:
        return self.gain > ERRORS * self.standard_error

    @property
    def hurts(self) -> bool:
        return -self.gain > ERRORS * self.standard_error


def measure(params: Train, data: TrainingData, *, device: torch.device) -> Iterator[Effect]:
    """Yield the effect on NDCG@10 of all items, and of tail items alone if valid has relevant ones."""
    ways = [of_small_model(params, data, anchor, device) for anchor in (params.anchor, 0.0)]
    relevant, n_items = data.holdout.relevant, len(data.catalogue.is_tail)
    for metric, wanted in {"ndcg@10": relevant, "tail_ndcg@10": relevant.among(data.catalogue.is_tail)}.items():
        if len(wanted.rows) == 0:
            continue
        given, absent = (ndcg(shown, wanted, n_items=n_items) for shown in ways)
        judged = ~np.isnan(given)
        error = (given - absent)[judged].std() / np.sqrt(judged.sum())
        yield Effect(metric, int(judged.sum()), float(given[judged].mean()), float(absent[judged].mean()), float(error))


def of_small_model(params: Train, data: TrainingData, anchor: float, device: torch.device) -> Lists:
    """Return the lists of valid users after the last epoch, (n_users, 10)."""
    dim = min(DIM, params.of("als")["embedding_dim"] or DIM)
    model = fitting.start(params.with_settings({"embedding_dim": dim, "anchor": anchor}), data, device=device)
    for _ in model.epochs():
        pass
    factors = model.factors()
    users = fold_in(factors, data.holdout.histories, device=device)
    return lists(factors, users, data.holdout, batch=fitting.BATCH_USERS, device=device)


def verdict(effects: Sequence[Effect]) -> str:
    """Return a sentence for the log. Texts hurt if they lower accuracy and do not improve the tail."""
    figures = ", ".join(
        f"valid {effect.metric} {effect.with_text:.4f} with, {effect.without_text:.4f} without "
        f"({effect.gain:+.4f} ± {effect.standard_error:.4f})"
        for effect in effects
    )
    if any(effect.hurts for effect in effects) and not any(effect.helps for effect in effects):
        return f"the texts hurt: {figures}; check the text column in ingest, or set train.anchor to 0"
    helped = any(effect.helps for effect in effects)
    return f"the texts {'help' if helped else 'make no significant difference'}: {figures}"


def row(effect: Effect) -> dict[str, Any]:
    """Return a row of text_effect.csv."""
    return {**asdict(effect), "gain": effect.gain, "helps": int(effect.helps), "hurts": int(effect.hurts)}
