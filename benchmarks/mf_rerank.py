"""All methods of tail re-ranking, chosen on valid and measured on test.

`python -m benchmarks.mf_rerank [--data NAME or folder ...]`. The model of `params.yaml` is re-ranked by its methods and
strengths. All figures are at 10; a loss is the relative loss of NDCG against the order of the scores, `times` the
factor of tail coverage. `slots in turn` assigns the slots user after user, priced by the exposure to earlier users: the
reference for serving one user at a time by learned prices.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from benchmarks._datasets import NAMES, ROOT, Dataset, embeddings, read
from benchmarks.mf_models import to_training_data
from models.evaluation.measure import Relevant
from models.evaluation.metric import Catalogue, Lists
from models.inference.candidates import Candidates
from models.inference.factors import Factors
from models.inference.reranking import Rerank, rerank
from models.ranking import baselines, ranking
from models.ranking.fold_in import fold_in
from models.ranking.seen import Seen
from models.tuning import tail_setting
from models.tuning.tail_setting import Holdout, K, Outcome
from pipelines.settings.document import load
from pipelines.settings.train import Train
from pipelines.train import data as training_data
from pipelines.train import fitting
from pipelines.train.stage import SAMPLE_USERS

CPU = torch.device("cpu")
COLUMNS = ("data", "method", "strength", "ndcg", "loss", "tail_ndcg", "tail_coverage", "times", "front", "chosen")


def rows(names: Sequence[str] = NAMES) -> Iterator[dict[str, Any]]:
    """Yield a row per data set, method and strength; front and chosen are of valid, the other figures of test."""
    params = load(Train, ROOT / "params.yaml")
    strengths = params.rerank.model_dump(exclude={"max_ndcg_loss"})
    for name in names:
        data = read(name)
        model, catalogue = trained(data, params), data.catalogue
        sample = training_data.sample(data.train, SAMPLE_USERS, seed=params.seed)
        outcomes = list(
            tail_setting.sweep(model, sample, judged(data, "valid")[0], catalogue, strengths, batch=1024, device=CPU)
        )
        chosen = tail_setting.choose(outcomes, max_ndcg_loss=params.rerank.max_ndcg_loss)
        test, seen = judged(data, "test")
        found = shortlist(model, test, seen, catalogue)
        shares = ranking.tail_shares(test.histories, catalogue.is_tail)
        plain = rerank(outcomes[0].how, found, shares, k=K)
        before = tail_setting.ndcg(plain, test.relevant, n_items=len(catalogue.is_tail))
        base = tail_setting.outcome(outcomes[0].how, plain, test, catalogue, before)
        for outcome, best in zip(outcomes, tail_setting.front(outcomes), strict=True):
            shown = rerank(outcome.how, found, shares, k=K)
            figures = tail_setting.outcome(outcome.how, shown, test, catalogue, before)
            yield row(data.name, figures, base) | {"front": best, "chosen": outcome is chosen}
        for how in (outcome.how for outcome in outcomes if outcome.how.method == "slots"):
            shown = in_turn(how, found, seed=params.seed)
            figures = tail_setting.outcome(how, shown, test, catalogue, before)
            yield row(data.name, figures, base) | {"method": "slots in turn", "front": None, "chosen": False}


def trained(data: Dataset, params: Train) -> Factors:
    """Train the model of `params`, with lists in order of the scores."""
    given = to_training_data(data, embeddings(data.texts))
    trainer = fitting.start(fitting.resolved(params, given), given, device=CPU)
    for _ in trainer.epochs():
        pass
    return trainer.factors()


def judged(data: Dataset, part: str) -> tuple[Holdout, csr_array[Any]]:
    """Return the users with pairs in a part, valid or test, and their seen items (n_users, n_items)."""
    pairs = (data.valid if part == "valid" else data.test).tocoo()
    users, row_of = np.unique(pairs.row, return_inverse=True)
    return Holdout(data.train[users], Relevant(row_of, pairs.col)), data.seen(part)[users]


def shortlist(model: Factors, test: Holdout, seen: csr_array[Any], catalogue: Catalogue) -> Candidates:
    scorer = baselines.factors(model, fold_in(model, test.histories, device=CPU), device=CPU)
    everybody, every = np.arange(seen.shape[0]), np.ones(seen.shape[1], np.bool_)
    options: Any = {"rows": everybody, "allowed": every, "k": K, "batch": 1024}
    parts = list(ranking.shortlist(scorer, Seen(seen), catalogue.is_tail, **options))
    return Candidates(np.vstack([part.items for part in parts]), np.vstack([part.relevance for part in parts]))


def in_turn(how: Rerank, found: Candidates, *, seed: int) -> Lists:
    """Return lists (n_users, 10) made user by user, each priced by the exposure to earlier users."""
    exposure, nobody = np.zeros(len(how.is_tail), np.float32), np.zeros(1, np.float32)
    lists = np.full((len(found.items), K), -1, np.int32)
    for user in np.random.default_rng(seed).permutation(len(lists)):
        alone = Candidates(found.items[[user]], found.relevance[[user]])
        lists[user] = rerank(replace(how, against=exposure), alone, nobody, k=K)[0]
        exposure[lists[user][lists[user] >= 0]] += 1
    return lists


def row(name: str, of: Outcome, base: Outcome) -> dict[str, Any]:
    return {
        "data": name,
        "method": of.how.method,
        "strength": of.how.strength,
        "ndcg": round(of.ndcg, 4),
        "loss": round(of.loss, 4),
        "tail_ndcg": round(of.tail_ndcg, 4),
        "tail_coverage": round(of.tail_coverage, 4),
        "times": round(of.tail_coverage / base.tail_coverage, 1) if base.tail_coverage else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(NAMES), help="names in the folder of data sets, or folders")
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|")
    for found in rows(parser.parse_args().data):
        cells = ("" if found[column] is None else str(found[column]) for column in COLUMNS)
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
