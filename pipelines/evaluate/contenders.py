"""Models under test: the candidate, the champion, the best releases and the references, over one catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch

from models.evaluation import leakage
from models.evaluation.leakage import Split
from models.inference.factors import Factors
from models.inference.reranking import Rerank
from models.ranking import baselines
from models.ranking.carry_over import carry_over
from models.ranking.fold_in import fold_in
from models.ranking.ranking import Scorer
from pipelines.artifacts import best_releases, outputs, tables
from pipelines.artifacts import model_file as model_files
from pipelines.evaluate.holdout import Holdout, Sparse
from pipelines.settings.evaluate import Evaluate

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Contender:
    """Model over the current catalogue."""

    scorer: Scorer
    recommendable: Bools  # (n_items,)
    rerank: Rerank | None = None  # re-ranking of the scores, if any ...
    histories: Sparse | None = None  # ... and its input (n_rows, n_items): the users' histories in the model
    popular: Scorer | None = None  # fallback for unknown users


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
    """Return the releases to compare with, by the name of the model in the evaluation; none if no version serves."""
    return {"champion": champion, **best_releases.others(champion)} if champion["version"] else {}


def left_out(champion: Mapping[str, Any], description: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the releases that cannot be compared with, by name: reasons in this holdout, and for missing files."""
    absent = {best_releases.name({"version": version}): why for version, why in champion.get("absent", {}).items()}
    unfair = {
        name: unfairness(release, description, champion.get("seen", {})) for name, release in releases(champion).items()
    }
    return {name: why for name, why in unfair.items() if why is not None}, absent


def unfairness(
    release: Mapping[str, Any], description: Mapping[str, Any], seen: Mapping[str, Mapping[str, int]]
) -> str | None:
    """Return the reason why a release cannot be compared with on this holdout; None if it can.

    seen: pairs of the holdout that releases have seen, by version, where they were counted.
    """
    if release.get("split") is None:
        return f"the release of {release['version']} does not say how its data was split"
    why = leakage.seen(Split.of(release["split"]), Split.of(description))
    counted = seen.get(release["version"])
    if why is None or (counted is not None and counted["pairs"] == 0):
        return None
    how_many = f"{counted['pairs']:,} of {counted['of']:,} pairs" if counted else "pairs"
    return f"{release['version']} has seen {how_many} of this holdout: {why}"


def since(
    stage: outputs.StageRun, champion: Mapping[str, Any], description: Mapping[str, Any], holdout: Holdout
) -> dict[str, Any] | None:
    """Return source and sizes of the champion's data and of these, for `models.gate.continuity`; None without one."""
    if champion["version"] is None:
        return None
    before = tables.read(stage.input("champion", "items.parquet"), ["item_id"])["item_id"]
    lost = pc.index_in(before, value_set=holdout.items["item_id"].combine_chunks()).null_count
    return {
        "source": {"before": champion["source"], "now": description["source"]},
        "items": {"before": len(before), "now": description["n_items"], "lost": lost},
        "users": {"before": (champion["sizes"] or {}).get("n_users"), "now": description["n_users"]},
    }


def released(
    stage: outputs.StageRun, name: str, release: Mapping[str, Any], holdout: Holdout, device: torch.device
) -> Contender:
    """Return the model of a release over the current catalogue; name: of the model in the evaluation."""
    prefix = "" if name == "champion" else best_releases.prefix(release)
    model_file, items_file = f"{prefix}model.safetensors", f"{prefix}items.parquet"
    for file, key in ((model_file, "model_sha256"), (items_file, "items_sha256")):
        found = stage.inputs[stage.input("champion", file).as_posix()]
        if found != release.get(key, found):  # old releases do not record their items
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
    # from a history, the release can use the items it was trained on, not the anchors added here
    known = holdout.histories.multiply((source >= 0).astype(np.float32)).tocsr()
    known.eliminate_zeros()
    return contender(aligned, known, recommendable, device)


def contender(model: Factors, histories: Sparse, recommendable: Bools, device: torch.device) -> Contender:
    scorer = baselines.factors(model, fold_in(model, histories, device=device), device=device)
    return Contender(scorer, recommendable, model.rerank, histories, baselines.popularity(model.popularity_bias))


def controls(holdout: Holdout, params: Evaluate, device: torch.device) -> dict[str, Contender]:
    """Return the references; without content if no item has a text."""
    n_items = len(holdout.items["item_id"])
    scorers = {
        "popularity": baselines.popularity(holdout.catalogue.users_of_item),
        "random": baselines.random(n_items, seed=params.seed),
    }
    if holdout.embeddings.any():
        scorers["content"] = baselines.content(holdout.histories, holdout.embeddings, device=device)
    return {name: Contender(scorers[name], np.ones(n_items, np.bool_)) for name in params.references if name in scorers}
