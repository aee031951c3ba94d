from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from benchmarks import mf_models
from benchmarks._datasets import ROOT, Dataset
from models.evaluation.metric import Catalogue
from models.training.settings import FAMILIES
from pipelines.settings.document import load
from pipelines.settings.train import Train


def two_tastes() -> Dataset:
    """Even users have even items, odd ones odd items; each has one in valid and one in test."""
    matrix = ((np.arange(20)[:, None] + np.arange(12)) % 2 == 0).astype(np.float32)
    held_out = [np.zeros_like(matrix) for _ in range(2)]
    for user in range(20):
        for part, item in zip(
            held_out, np.flatnonzero(matrix[user])[[user // 2 % 6, (user // 2 + 1) % 6]], strict=True
        ):
            part[user, item], matrix[user, item] = 1, 0
    popularity = matrix.sum(axis=0).astype(np.int64)
    catalogue = Catalogue(popularity, np.arange(12) > 5, popularity == 0, 20)
    train, valid, test = (csr_array(part) for part in (matrix, *held_out))
    return Dataset("tastes", train, valid, test, [""] * 12, catalogue)


@pytest.mark.parametrize(("n_pairs", "batch"), [(100, 64), (40_000, 64), (81_000, 128)])
def test_minibatches_grow_with_the_pairs(n_pairs: int, batch: int) -> None:
    params = load(Train, ROOT / "params.yaml")
    given = params.with_family("bpr", batch_pairs=64)
    suited = mf_models.suited(given, "bpr", n_pairs=n_pairs)
    assert suited.model == "bpr"
    assert suited.of("bpr") == given.of("bpr") | {"batch_pairs": batch}


def test_every_model_gets_a_row_and_those_for_small_data_beat_popularity(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(*_: Any) -> Train:
        params = load(Train, ROOT / "params.yaml")
        quick = {"embedding_dim": 4, "epochs": 60}
        models = {name: getattr(params, name).model_copy(update=quick) for name in FAMILIES}
        for name in ("mf", "bpr", "two_tower", "light_gcn"):
            models[name] = models[name].model_copy(update={"learning_rate": 0.02})
        return params.model_copy(update=models)

    monkeypatch.setattr(mf_models, "load", small)
    monkeypatch.setattr(mf_models, "read", lambda name: two_tastes())
    monkeypatch.setattr(mf_models, "embeddings", lambda texts: np.zeros((12, 3), np.float32))
    popular, *found = mf_models.rows(["tastes"])
    assert [row["model"] for row in found] == list(FAMILIES)
    assert all(row["d"] == 4 for row in found)
    # the regularization of ALS suits more data than this
    assert all(row["ndcg@10"] > popular["ndcg@10"] + 0.2 for row in found if row["model"] != "als")
