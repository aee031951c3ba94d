"""data/evaluate: candidate, champion, best releases and references on the same holdout, per user and in total.

metrics.json (all models), per_user.parquet, slices.csv (groups of users and items), and for plots, at the first of
`evaluate.k`, deciles.csv (recall per popularity decile), exposure.csv (Lorenz curves) and tradeoff.csv (accuracy and
tail coverage).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.compute.device import choose
from models.evaluation import measure
from models.evaluation.metric import Lists
from models.ranking.ranking import recommend, reranked
from pipelines.artifacts import outputs, per_user, tables
from pipelines.evaluate import contenders, slices
from pipelines.evaluate import holdout as holdouts
from pipelines.evaluate.contenders import Contender
from pipelines.evaluate.holdout import Holdout
from pipelines.runtime.console import progress, say
from pipelines.settings.document import load
from pipelines.settings.evaluate import Evaluate

STAGE = "evaluate"


def main() -> None:
    params = load(Evaluate)
    device = choose(params.device)
    with outputs.stage(STAGE) as stage:
        description = outputs.read_json(stage.input("split", "holdout.json"))
        holdout = holdouts.read(stage, n_users=description["n_users"])
        models = {"candidate": contenders.candidate(stage, holdout, device)}
        champion = outputs.read_json(stage.input("champion", "champion.json"))
        unfair, absent = contenders.left_out(champion, description)
        for name, release in contenders.releases(champion).items():
            if name not in {**unfair, **absent}:
                models[name] = contenders.released(stage, name, release, holdout, device)
        models |= contenders.controls(holdout, params, device)
        results = {name: judge(name, contender, holdout, params) for name, contender in models.items()}
        summaries = {name: measure.summary(result, holdout.catalogue, ks=params.k) for name, result in results.items()}
        outputs.write_json(
            stage.output("metrics.json"),
            {
                "tail_sha256": description["tail_sha256"],
                "holdout_sha256": description["holdout_sha256"],
                "n_users": len(holdout.user_idx),
                "unfair_champion": unfair.get("champion"),
                "unfair_best": {name: why for name, why in unfair.items() if name != "champion"},
                "absent_best": absent,
                "since_champion": contenders.since(stage, champion, description, holdout),
                "models": summaries,
            },
        )
        write_slices(stage, results, holdout, params)
        write_plots(stage, results, summaries, holdout, params)
    k = params.k[0]
    for name, why in {**unfair, **absent}.items():
        say(STAGE, f"{name} is not compared with: {why}")
    for name, values in summaries.items():
        say(STAGE, f"{name}: ndcg@{k} {values[f'ndcg@{k}']:.4f}, tail_coverage@{k} {values[f'tail_coverage@{k}']:.4f}")


def judge(name: str, contender: Contender, holdout: Holdout, params: Evaluate) -> measure.Evaluation:
    everybody = np.arange(len(holdout.user_idx))
    lists = ranked(name, contender, holdout, params, rows=everybody)
    cold = holdout.catalogue.is_cold
    among_cold = np.full_like(lists, -1)
    if len(rows := np.unique(holdout.relevant.among(cold).rows).astype(np.int64)):
        of_cold = Contender(contender.scorer, contender.recommendable & cold)
        among_cold[rows] = ranked(f"{name}, cold items", of_cold, holdout, params, rows=rows)
    return measure.evaluate(
        lists,
        among_cold,
        holdout.relevant,
        holdout.catalogue,
        ks=params.k,
        users=measure.Users(holdout.histories, holdout.seen.pairs),
        embeddings=holdout.embeddings,
    )


def ranked(
    name: str, contender: Contender, holdout: Holdout, params: Evaluate, *, rows: npt.NDArray[np.int64]
) -> Lists:
    """Return lists (len(rows), largest k) of unseen, recommendable items, as they would be served."""
    options: Any = {"rows": rows, "allowed": contender.recommendable, "k": max(params.k), "batch": params.batch_users}
    if contender.rerank is None or contender.histories is None:
        batches = recommend(contender.scorer, holdout.seen, **options)
    else:
        how, histories = contender.rerank, contender.histories
        batches = reranked(contender.scorer, holdout.seen, how, histories=histories, **options)
    total = math.ceil(len(rows) / params.batch_users)
    lists = np.concatenate(list(progress(f"{STAGE}: {name}", batches, total=total, unit="batches of users")))
    if contender.popular is not None and contender.histories is not None:
        without_history = np.flatnonzero(np.diff(contender.histories.indptr)[rows] == 0)
        found = recommend(contender.popular, holdout.seen, **options | {"rows": rows[without_history]})
        lists[without_history] = np.concatenate([lists[:0], *found])
    return lists


def write_slices(
    stage: outputs.StageRun, results: Mapping[str, measure.Evaluation], holdout: Holdout, params: Evaluate
) -> None:
    """Write slices.csv, and per_user.parquet with the slices of each user."""
    everybody = tables.read(stage.input("split", "users.parquet"))
    users = everybody.take(holdout.user_idx)  # the row of a user is its user_idx
    by_user = slices.of_users(holdout.histories, holdout.catalogue, users, params.slices.users)
    by_item = slices.of_items(holdout.catalogue, holdout.items, params.slices.items)
    tables.write(per_user.table(results, holdout.user_idx, by_user), stage.output("per_user.parquet"))
    rows = slices.rows(
        results, holdout.relevant, holdout.catalogue, by_user, by_item, k=params.k[0], params=params.slices
    )
    tables.write_csv(stage.output("slices.csv"), rows)


def write_plots(
    stage: outputs.StageRun,
    results: Mapping[str, measure.Evaluation],
    summaries: Mapping[str, Mapping[str, float]],
    holdout: Holdout,
    params: Evaluate,
) -> None:
    """Write long tables, a row per point, without models that were not evaluated and without undefined values."""
    k = params.k[0]
    deciles, exposure, tradeoff = [], [], []
    for name, result in results.items():
        lists, of = result.lists[:, :k], {"model": name, "k": k}
        recall = measure.recall_by_decile(lists, holdout.relevant, holdout.catalogue)
        deciles += [of | {"decile": n, "recall": value} for n, value in enumerate(recall, start=1) if value == value]
        curve = measure.lorenz(measure.exposure_of(lists, holdout.catalogue))
        shares = np.linspace(0, 1, len(curve))
        exposure += [of | {"share_of_items": x, "share_of_lists": y} for x, y in zip(shares, curve, strict=True)]
        tradeoff.append(of | {metric: summaries[name][f"{metric}@{k}"] for metric in ("ndcg", "tail_coverage")})
    for file, rows in (("deciles.csv", deciles), ("exposure.csv", exposure), ("tradeoff.csv", tradeoff)):
        tables.write_csv(stage.output(file), rows)
