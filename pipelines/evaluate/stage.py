"""data/evaluate: candidate, champion, best releases and references on the same holdout, per user and in sum.

metrics.json (all models), per_user.parquet, slices.csv (groups of users and items), and for plots, at the first of
`evaluate.k`, deciles.csv (recall per popularity decile), exposure.csv (Lorenz curves) and tradeoff.csv (accuracy and
tail coverage).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy.sparse import csr_array

from models.compute.device import choose
from models.evaluation import leakage, measure
from models.evaluation.metrics import Lists
from models.inference.factors import Factors
from models.inference.reranking import Rerank
from models.ranking import baselines
from models.ranking.carry_over import carry_over
from models.ranking.fold_in import fold_in
from models.ranking.ranking import Scorer, recommend, reranked
from models.ranking.seen import Seen
from pipelines.artifacts import best_releases, embeddings_file, outputs, per_user, tables
from pipelines.artifacts import model_file as model_files
from pipelines.evaluate import slices
from pipelines.runtime.console import progress, say
from pipelines.settings.document import load
from pipelines.settings.evaluate import Evaluate

STAGE = "evaluate"
Bools = npt.NDArray[np.bool_]
Sparse = csr_array[Any]


@dataclass(frozen=True)
class Contender:
    """A model over the current catalogue."""

    scorer: Scorer
    recommendable: Bools  # (n_items,)
    rerank: Rerank | None = None  # what makes lists of scores, if not their order ...
    histories: Sparse | None = None  # ... and what it goes by (n_rows, n_items): all that the model knows of the users
    popular: Scorer | None = None  # what users are served of whom it knows nothing


@dataclass(frozen=True)
class Holdout:
    """The split as arrays; a row is a user with test interactions."""

    user_idx: npt.NDArray[np.int32]  # (n_rows,)
    items: pa.Table
    catalogue: measure.Catalogue
    histories: Sparse  # train pairs (n_rows, n_items)
    seen: Seen  # train and valid pairs
    relevant: measure.Relevant
    embeddings: npt.NDArray[np.floating[Any]]  # of the items' texts (n_items, t)
    encoder: str


def main() -> None:
    params = load(Evaluate)
    device = choose(params.device)
    with outputs.stage(STAGE) as stage:
        description = outputs.read_json(stage.input("split", "holdout.json"))
        holdout = read_holdout(stage, n_users=description["n_users"])
        contenders = {"candidate": candidate(stage, holdout, device)}
        champion = outputs.read_json(stage.input("champion", "champion.json"))
        unfair, absent = left_out(champion, description)
        for name, release in releases(champion).items():
            if name not in {**unfair, **absent}:
                contenders[name] = released(stage, name, release, holdout, device)
        contenders |= controls(holdout, params, device)
        results = {name: judge(name, contender, holdout, params) for name, contender in contenders.items()}
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


def read_holdout(stage: outputs.StageRun, *, n_users: int) -> Holdout:
    """Raises ValueError where the test set has no users."""
    items = tables.read(stage.input("split", "items.parquet"))
    train, valid, test = (
        tables.read(stage.input("split", f"{part}.parquet"), ["user_idx", "item_idx"])
        for part in ("train", "valid", "test")
    )
    if test.num_rows == 0:
        raise ValueError(
            "data/split/test.parquet has no users to evaluate on; raise split.test, or set split.strategy: hash, "
            "which draws test events from every user"
        )
    user_idx = np.unique(test["user_idx"].to_numpy())
    shape = (len(user_idx), items.num_rows)
    histories = pairs(train, user_idx, shape)
    relevant = pairs(test, user_idx, shape).tocoo()
    catalogue = measure.Catalogue(
        items["popularity"].to_numpy(), items["is_tail"].to_numpy(), items["is_cold"].to_numpy(), n_users
    )
    seen = Seen((histories + pairs(valid, user_idx, shape)).tocsr())
    embeddings, encoder = embeddings_file.read(stage.input("embed", embeddings_file.NAME), n_items=items.num_rows)
    pairs_of_test = measure.Relevant(relevant.row, relevant.col)
    return Holdout(user_idx, items, catalogue, histories, seen, pairs_of_test, embeddings, encoder)


def pairs(table: pa.Table, user_idx: npt.NDArray[np.int32], shape: tuple[int, int]) -> Sparse:
    """The table's pairs of the given users as ones in a sparse (n_rows, n_items)."""
    users, items = table["user_idx"].to_numpy(), table["item_idx"].to_numpy()
    evaluated = np.isin(users, user_idx)
    rows = np.searchsorted(user_idx, users[evaluated])
    return csr_array((np.ones(len(rows), np.float32), (rows, items[evaluated])), shape=shape)


def candidate(stage: outputs.StageRun, holdout: Holdout, device: torch.device) -> Contender:
    model, _ = model_files.read(stage.input("train", "model.safetensors"))
    everything = np.ones(len(holdout.items["item_id"]), np.bool_)
    if len(model.item_factors) != len(everything):
        raise ValueError(
            f"data/train/model.safetensors has {len(model.item_factors)} items, data/split/items.parquet has "
            f"{len(everything)}: the model is of another split; run `dvc repro train`"
        )
    return contender(model, holdout.histories, everything, device)


def releases(champion: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The releases to compare with, by the name of the model in the evaluation; none where nothing serves."""
    return {"champion": champion, **best_releases.others(champion)} if champion["version"] else {}


def left_out(champion: Mapping[str, Any], description: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Releases that cannot be compared with, by name: the reason in this holdout, and why files are absent."""
    absent = {best_releases.name({"version": version}): why for version, why in champion.get("absent", {}).items()}
    unfair = {name: unfairness(release, description) for name, release in releases(champion).items()}
    return {name: why for name, why in unfair.items() if why is not None}, absent


def unfairness(release: Mapping[str, Any], description: Mapping[str, Any]) -> str | None:
    """Why a release cannot be compared with on this holdout, in words; None where it can."""
    if release.get("split") is None:
        return f"the release of {release['version']} does not say how its data was split"
    why = leakage.seen(split_of(release["split"]), split_of(description))
    return f"{release['version']} has seen pairs of this holdout: {why}" if why else None


def split_of(description: Mapping[str, Any]) -> leakage.Split:
    """The split that holdout.json or the record of a release describes.

    An early release lacks `cold_items` and `user_space`: it counts as one that withheld no item and knew users by their
    ids.
    """
    cutoffs = description["cutoffs"]
    return leakage.Split(
        strategy=description["strategy"],
        cutoffs=(cutoffs[0], cutoffs[1]) if cutoffs else None,
        seed=description["seed"],
        test=description["test"],
        cold_items=description.get("cold_items") or 0.0,
        user_space=description.get("user_space"),
    )


def released(
    stage: outputs.StageRun, name: str, release: Mapping[str, Any], holdout: Holdout, device: torch.device
) -> Contender:
    """The model of a release over the current catalogue; name: of the model in the evaluation."""
    prefix = "" if name == "champion" else best_releases.prefix(release)
    model_file, items_file = f"{prefix}model.safetensors", f"{prefix}items.parquet"
    for file, key in ((model_file, "model_sha256"), (items_file, "items_sha256")):
        found = stage.inputs[stage.input("champion", file).as_posix()]
        if found != release.get(key, found):  # releases of old do not name their items
            raise ValueError(
                f"data/champion/{file} is not that of {release['version']}: its sha256 is {found}, {key} is "
                f"{release[key]}; run `dvc repro --force --downstream champion`"
            )
    model, provenance = model_files.read(stage.input("champion", model_file))
    own_ids = tables.read(stage.input("champion", items_file), ["item_id"])["item_id"]
    if len(own_ids) != len(model.item_factors):
        raise ValueError(
            f"data/champion has {len(own_ids):,} items and a model of {len(model.item_factors):,}; run "
            "`dvc repro --force --downstream champion`"
        )
    source = pc.index_in(holdout.items["item_id"], value_set=own_ids.combine_chunks()).fill_null(-1).to_numpy()
    same_encoder = provenance.get("encoder") == holdout.encoder
    aligned, recommendable = carry_over(model, source, holdout.embeddings if same_encoder else None)
    # of a history the release can use what it was trained on, not the anchors it has been given just now
    known = holdout.histories.multiply((source >= 0).astype(np.float32)).tocsr()
    known.eliminate_zeros()
    return contender(aligned, known, recommendable, device)


def contender(model: Factors, histories: Sparse, recommendable: Bools, device: torch.device) -> Contender:
    scorer = baselines.factors(model, fold_in(model, histories, device=device), device=device)
    return Contender(scorer, recommendable, model.rerank, histories, baselines.popularity(model.popularity_bias))


def controls(holdout: Holdout, params: Evaluate, device: torch.device) -> dict[str, Contender]:
    """The references; none by content where no item has a text."""
    n_items = len(holdout.items["item_id"])
    scorers = {
        "popularity": baselines.popularity(holdout.catalogue.users_of_item),
        "random": baselines.random(n_items, seed=params.seed),
    }
    if holdout.embeddings.any():
        scorers["content"] = baselines.content(holdout.histories, holdout.embeddings, device=device)
    return {name: Contender(scorers[name], np.ones(n_items, np.bool_)) for name in params.references if name in scorers}


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
    """Lists (len(rows), largest k) of unseen, recommendable items, as they would be served."""
    options: Any = {"rows": rows, "allowed": contender.recommendable, "k": max(params.k), "batch": params.batch_users}
    if contender.rerank is None or contender.histories is None:
        batches = recommend(contender.scorer, holdout.seen, **options)
    else:
        how, histories = contender.rerank, contender.histories
        batches = reranked(contender.scorer, holdout.seen, how, histories=histories, **options)
    total = math.ceil(len(rows) / params.batch_users)
    lists = np.concatenate(list(progress(f"{STAGE}: {name}", batches, total=total, unit="batches of users")))
    if contender.popular is not None and contender.histories is not None:
        strangers = np.flatnonzero(np.diff(contender.histories.indptr)[rows] == 0)
        found = recommend(contender.popular, holdout.seen, **options | {"rows": rows[strangers]})
        lists[strangers] = np.concatenate([lists[:0], *found])
    return lists


def write_slices(
    stage: outputs.StageRun, results: Mapping[str, measure.Evaluation], holdout: Holdout, params: Evaluate
) -> None:
    """slices.csv, and per_user.parquet, which says what slices a user belongs to."""
    everybody = tables.read(stage.input("split", "users.parquet"))
    users = everybody.take(holdout.user_idx)  # a user's row is the user's index
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
    """Long tables, a row per point: a model that was not evaluated has none, and neither has what is undefined."""
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
