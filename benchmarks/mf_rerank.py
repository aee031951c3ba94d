"""Every way of re-ranking towards the tail, chosen on valid and measured on test.

`python -m benchmarks.mf_rerank DATA ...`, each DATA the `data` folder of a pipeline that has run up to `train`; its
model is re-ranked by what `params.yaml` names. All figures are at 10; a loss is the share of NDCG that is lost against
the order of the scores. `slots in turn` gives out the slots user after user, priced by what the users before were
shown: what serving one user at a time by learned prices has to be compared with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from models import ranking, references, tail_setting
from models.candidates import Candidates
from models.evaluation import Catalogue, Relevant
from models.factors import Factors
from models.fold_in import fold_in
from models.metrics import Lists
from models.reranking import Rerank, rerank
from models.tail_setting import Holdout, K, Outcome
from pipelines import _model
from pipelines import _tables as tables
from pipelines import _training_data as stage
from pipelines._params import Train, load
from pipelines.train import CROWD_USERS

CPU = torch.device("cpu")
COLUMNS = ("data", "method", "strength", "ndcg", "loss", "tail_ndcg", "tail_coverage", "times", "front", "chosen")
ROOT = Path(__file__).resolve().parents[1]


def rows(folders: list[Path]) -> Iterator[dict[str, Any]]:
    """A row per data set, method and strength; front and chosen are of valid, the other figures of test."""
    params = load(Train, ROOT / "params.yaml")
    strengths = params.rerank.model_dump(exclude={"max_ndcg_loss"})
    for folder in folders:
        model, catalogue, histories, valid, (test, seen) = read(folder, seed=params.seed)
        crowd = stage.sample(histories, CROWD_USERS, seed=params.seed)
        outcomes = list(tail_setting.sweep(model, crowd, valid, catalogue, strengths, batch=1024, device=CPU))
        chosen = tail_setting.choose(outcomes, max_ndcg_loss=params.rerank.max_ndcg_loss)
        found = shortlist(model, test, seen, catalogue)
        shares = ranking.tail_shares(test.histories, catalogue.is_tail)
        plain = rerank(outcomes[0].how, found, shares, k=K)
        before = tail_setting.ndcg(plain, test.relevant, n_items=len(catalogue.is_tail))
        base = tail_setting.outcome(outcomes[0].how, plain, test, catalogue, before)
        for outcome, best in zip(outcomes, tail_setting.front(outcomes), strict=True):
            shown = rerank(outcome.how, found, shares, k=K)
            figures = tail_setting.outcome(outcome.how, shown, test, catalogue, before)
            yield row(folder, figures, base) | {"front": best, "chosen": outcome is chosen}
        for how in (outcome.how for outcome in outcomes if outcome.how.method == "slots"):
            shown = in_turn(how, found, seed=params.seed)
            figures = tail_setting.outcome(how, shown, test, catalogue, before)
            yield row(folder, figures, base) | {"method": "slots in turn", "front": None, "chosen": False}


def read(
    data: Path, *, seed: int
) -> tuple[Factors, Catalogue, csr_array[Any], Holdout, tuple[Holdout, csr_array[Any]]]:
    """Model without re-ranking, catalogue, train histories, valid, and test with what its users have seen."""
    model, _ = _model.read(data / "train" / "model.safetensors")
    items = tables.read(data / "split" / "items.parquet", ["popularity", "is_tail", "is_cold"])
    train, valid, test = (
        tables.read(data / "split" / f"{part}.parquet", ["user_idx", "item_idx"]) for part in ("train", "valid", "test")
    )
    interactions, histories = stage.to_interactions(train, n_items=items.num_rows)
    known = (valid["user_idx"].to_numpy(), valid["item_idx"].to_numpy())
    more = csr_array((np.ones(valid.num_rows, np.float32), known), shape=histories.shape)
    users, row_of = np.unique(test["user_idx"].to_numpy(), return_inverse=True)
    judged = Holdout(histories[users], Relevant(row_of, test["item_idx"].to_numpy()))
    return (
        replace(model, rerank=None),
        stage.to_catalogue(items, n_users=interactions.n_users),
        histories,
        stage.to_holdout(histories, valid, users=stage.VALID_USERS, seed=seed),
        (judged, csr_array(histories + more)[users]),
    )


def shortlist(model: Factors, test: Holdout, seen: csr_array[Any], catalogue: Catalogue) -> Candidates:
    scorer = references.factors(model, fold_in(model, test.histories, device=CPU), device=CPU)
    everybody, every = np.arange(seen.shape[0]), np.ones(seen.shape[1], np.bool_)
    parts = list(ranking.shortlist(scorer, seen, catalogue.is_tail, rows=everybody, allowed=every, k=K, batch=1024))
    return Candidates(np.vstack([part.items for part in parts]), np.vstack([part.relevance for part in parts]))


def in_turn(how: Rerank, found: Candidates, *, seed: int) -> Lists:
    """Lists (n_users, 10) of users who come one after another, each priced by what those before were shown."""
    exposure, nobody = np.zeros(len(how.is_tail), np.float32), np.zeros(1, np.float32)
    lists = np.full((len(found.items), K), -1, np.int32)
    for user in np.random.default_rng(seed).permutation(len(lists)):
        alone = Candidates(found.items[[user]], found.relevance[[user]])
        lists[user] = rerank(replace(how, against=exposure), alone, nobody, k=K)[0]
        exposure[lists[user][lists[user] >= 0]] += 1
    return lists


def row(folder: Path, of: Outcome, base: Outcome) -> dict[str, Any]:
    data = folder.resolve().parent.name if folder.name == "data" else folder.name
    return {
        "data": data,
        "method": of.how.method,
        "strength": of.how.strength,
        "ndcg": round(of.ndcg, 4),
        "loss": round(of.loss, 4),
        "tail_ndcg": round(of.tail_ndcg, 4),
        "tail_coverage": round(of.tail_coverage, 4),
        "times": round(of.tail_coverage / base.tail_coverage, 1) if base.tail_coverage else None,
    }


def main() -> None:
    folders = [Path(argument) for argument in sys.argv[1:]] or [ROOT / "data"]
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|")
    for found in rows(folders):
        cells = ("" if found[column] is None else str(found[column]) for column in COLUMNS)
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
