"""data/train: model.safetensors, training.csv (a row per epoch) and pareto.csv (a row per re-ranking setting).

If items have text also cold_items.csv (a row per score bonus of items without interactions) and, with ALS,
text_effect.csv (effect of the texts on valid); if `train.search` has trials also search.csv (a row per trial).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from models.compute.device import choose
from models.compute.distributed import Ranks
from models.inference.factors import Factors
from models.tuning.cold_items import correct
from models.tuning.tail_setting import Outcome, front, sweep
from models.tuning.tail_setting import choose as choose_reranking
from pipelines.artifacts import model_file, outputs, tables
from pipelines.runtime import ranks
from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.train import Train
from pipelines.train import data as training_data
from pipelines.train import fitting, text_ablation
from pipelines.train.data import TrainingData

SAMPLE_USERS = 5000  # limit on the users whose lists determine the exposure of items


def main() -> None:
    params = load(Train)
    if params.world_size > 1 and not ranks.launched():
        ranks.launch("pipelines.train", params.world_size)
        return
    with ranks.joined(choose(params.device)) as (group, device):
        (lead if group.rank == 0 else follow)(params, group, device)


def follow(params: Train, group: Ranks, device: torch.device) -> None:
    """Run a rank other than the first: its share of the training, and nothing else."""
    data = training_data.read(outputs.StageRun("train", outputs.DATA), seed=params.seed)
    for _ in fitting.start(fitting.resolved(params, data), data, device=device, group=group).epochs():
        pass


def lead(params: Train, group: Ranks, device: torch.device) -> None:
    """Run the first rank, or the only process: it also chooses on valid and writes."""
    with outputs.stage("train") as stage:
        data = training_data.read(stage, seed=params.seed)
        params = fitting.resolved(params, data)
        if params.search.trials:
            trials = fitting.searched(params, data, stage.inputs, device=device)
            tables.write_csv(stage.output("search.csv"), fitting.rows(trials))
            params = fitting.chosen(params, trials)
        trainer = fitting.start(params, data, device=device, group=group)
        rows, model = fitting.best_epoch(fitting.fit(trainer, data, epochs=params.settings()["epochs"]))
        tables.write_csv(stage.output("training.csv"), rows)

        weigh_texts(data, params, stage, device)
        model = raised(model.in_eigenbasis(), data, params, stage, device)
        sample = training_data.sample(data.histories, SAMPLE_USERS, seed=params.seed)
        strengths = params.rerank.model_dump(exclude={"max_ndcg_loss"})
        outcomes = list(
            sweep(model, sample, data.holdout, data.catalogue, strengths, batch=fitting.BATCH_USERS, device=device)
        )
        chosen = choose_reranking(outcomes, max_ndcg_loss=params.rerank.max_ndcg_loss)
        tables.write_csv(stage.output("pareto.csv"), pareto(outcomes, chosen))
        say("train", f"re-ranking {chosen.how.method} {chosen.how.strength}: valid ndcg@10 {chosen.ndcg:.4f} "
                     f"({-chosen.loss:+.1%}), tail coverage@10 {chosen.tail_coverage:.3f} "
                     f"({outcomes[0].tail_coverage:.3f} without)")  # fmt: skip
        model_file.write(
            replace(model, rerank=chosen.how),
            stage.output("model.safetensors"),
            provenance={"encoder": data.encoder, "tail_sha256": data.tail_sha256, "params": params.model_dump()},
        )


def weigh_texts(data: TrainingData, params: Train, stage: outputs.StageRun, device: torch.device) -> None:
    """Log whether the texts help or hurt; write text_effect.csv."""
    if params.model == "als" and params.anchor and data.embeddings.any():
        effects = list(text_ablation.measure(params, data, device=device))
        tables.write_csv(stage.output("text_effect.csv"), map(text_ablation.row, effects))
        say("train", text_ablation.verdict(effects))


def raised(model: Factors, data: TrainingData, params: Train, stage: outputs.StageRun, device: torch.device) -> Factors:
    """Return the model with the largest score bonus for cold items that valid allows; write cold_items.csv."""
    if not params.anchor:  # text is switched off
        return model
    holdout = data.holdout
    model, heights = correct(
        model, data.embeddings, holdout.histories, holdout.relevant,
        max_ndcg_loss=params.cold_max_ndcg_loss, seed=params.seed, device=device,
    )  # fmt: skip
    if heights:
        height = model.cold.height if model.cold else None
        tables.write_csv(
            stage.output("cold_items.csv"),
            (asdict(outcome) | {"chosen": int(outcome.height == height)} for outcome in heights),
        )
    return model


def pareto(outcomes: Sequence[Outcome], chosen: Outcome) -> Iterator[dict[str, Any]]:
    """Return the rows of pareto.csv: the figures of every re-ranking setting on valid, all at 10."""
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
