"""Effect of the texts on the ranking, measured with and without them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.sparse import csr_array

from models.evaluation.measure import Relevant
from models.evaluation.metric import Catalogue
from models.training.interactions import Interactions
from models.tuning.tail_setting import Holdout
from pipelines.settings.document import load
from pipelines.settings.train import Train
from pipelines.train import text_ablation
from pipelines.train.data import TrainingData
from pipelines.train.text_ablation import Effect
from tests.conftest import REPO

CPU = torch.device("cpu")
GROUPS, USERS, ITEMS, TOUCHED = 8, 320, 400, 2


def data(texts: npt.NDArray[np.float32]) -> TrainingData:
    """Users who want items of their own group, with few interactions each; the group of an item is its index mod 8."""
    rng = np.random.default_rng(0)
    touched = [rng.choice(np.arange(u % GROUPS, ITEMS, GROUPS), TOUCHED + 1, replace=False) for u in range(USERS)]
    users = np.repeat(np.arange(USERS, dtype=np.int32), TOUCHED)
    items = np.concatenate([np.sort(each[:TOUCHED]) for each in touched]).astype(np.int32)
    ones = np.ones(len(users), np.float32)
    histories = csr_array((ones, (users, items)), (USERS, ITEMS))
    holdout = Holdout(histories, Relevant(np.arange(USERS), np.array([each[TOUCHED] for each in touched])))
    popularity = np.bincount(items, minlength=ITEMS)
    catalogue = Catalogue(popularity, popularity < np.median(popularity), popularity == 0, USERS)
    interactions = Interactions(users, items, ones, USERS, ITEMS)
    return TrainingData(interactions, histories, holdout, holdout, catalogue, texts, "", "")


def of_groups(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Unit vectors (n, 16) that are alike within a group."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(GROUPS, 16))[groups] + 0.1 * rng.normal(size=(len(groups), 16))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def params() -> Train:
    return load(Train, REPO / "params.yaml").with_settings({"embedding_dim": 16})


def test_texts_that_tell_what_people_want_help(params: Train) -> None:
    effects = list(text_ablation.measure(params, data(of_groups(np.arange(ITEMS) % GROUPS)), device=CPU))
    assert [effect.metric for effect in effects] == ["ndcg@10", "tail_ndcg@10"]
    assert effects[0].helps
    assert text_ablation.verdict(effects).startswith("the texts help")


def test_texts_of_other_items_hurt(params: Train) -> None:
    elsewhere = np.random.default_rng(2).permutation(np.arange(ITEMS) % GROUPS)
    effects = list(text_ablation.measure(params, data(of_groups(elsewhere)), device=CPU))
    assert effects[0].hurts
    assert text_ablation.verdict(effects).startswith("the texts hurt")


def test_what_lost_accuracy_and_gained_no_tail_is_said_to_hurt() -> None:
    lost, gained = Effect("ndcg@10", 100, 0.1, 0.2, 0.01), Effect("tail_ndcg@10", 50, 0.2, 0.1, 0.01)
    unsure = Effect("ndcg@10", 100, 0.19, 0.2, 0.01)
    assert text_ablation.verdict([lost]).startswith("the texts hurt")
    assert "train.anchor" in text_ablation.verdict([lost])
    assert text_ablation.verdict([lost, gained]).startswith("the texts help")
    assert text_ablation.verdict([unsure]).startswith("the texts make no significant difference")
