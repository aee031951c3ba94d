"""Training data and validation data of the train stage as arrays: read from the split and the embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array

from models.evaluation.measure import Relevant
from models.evaluation.metric import Catalogue
from models.training.interactions import Interactions
from models.tuning.tail_setting import Holdout
from pipelines.artifacts import embeddings_file, outputs, tables

VALID_USERS = 5000  # limit on the users ranked to choose settings ...
WATCHED_USERS = 1000  # ... and for the figure after an epoch


@dataclass(frozen=True)
class TrainingData:
    """Training pairs, valid pairs to choose settings on, and attributes of the items."""

    interactions: Interactions
    histories: csr_array[Any]  # the same pairs, (n_users, n_items)
    holdout: Holdout
    watched: Holdout  # a sample of its users
    catalogue: Catalogue
    embeddings: npt.NDArray[np.float32]  # (n_items, t)
    encoder: str  # digest of their encoder
    tail_sha256: str


def read(stage: outputs.StageRun, *, seed: int) -> TrainingData:
    """Read the data; raises ValueError if there are no training pairs, or no valid pairs."""
    train = tables.read(stage.input("split", "train.parquet"), ["user_idx", "item_idx"])
    valid = tables.read(stage.input("split", "valid.parquet"), ["user_idx", "item_idx"])
    items = tables.read(stage.input("split", "items.parquet"), ["popularity", "is_tail", "is_cold"])
    tail = outputs.read_json(stage.input("split", "holdout.json"))["tail_sha256"]
    embeddings, encoder = embeddings_file.read(stage.input("embed", embeddings_file.NAME), n_items=items.num_rows)
    interactions, histories = to_interactions(train, n_items=items.num_rows)
    return TrainingData(
        interactions,
        histories,
        to_holdout(histories, valid, users=VALID_USERS, seed=seed),
        to_holdout(histories, valid, users=WATCHED_USERS, seed=seed),
        to_catalogue(items, n_users=interactions.n_users),
        embeddings,
        encoder,
        tail,
    )


def to_interactions(train: pa.Table, *, n_items: int) -> tuple[Interactions, csr_array[Any]]:
    """Return the training pairs as input of the models, and as a sparse (n_users, n_items) matrix of ones."""
    users, items = (np.array(train[name].to_numpy()) for name in ("user_idx", "item_idx"))
    n_users = int(users.max()) + 1 if len(users) else 0  # every user of the index has a train interaction
    ones = np.ones(len(users), np.float32)
    return Interactions(users, items, ones, n_users, n_items), csr_array((ones, (users, items)), (n_users, n_items))


def to_holdout(histories: csr_array[Any], valid: pa.Table, *, users: int, seed: int) -> Holdout:
    """Return the valid pairs of at most `users` users, drawn under the seed. Raises ValueError if there are none."""
    user_idx, items = valid["user_idx"].to_numpy(), valid["item_idx"].to_numpy()
    present = np.unique(user_idx)
    if len(present) == 0:
        raise ValueError("valid.parquet has 0 rows of users in train, expected some; raise split.valid")
    if len(present) > users:
        present = np.sort(np.random.default_rng(seed).choice(present, users, replace=False))
    keep = np.isin(user_idx, present)
    return Holdout(histories[present], Relevant(np.searchsorted(present, user_idx[keep]), items[keep]))


def to_catalogue(items: pa.Table, *, n_users: int) -> Catalogue:
    is_tail, is_cold = (items[name].to_numpy(zero_copy_only=False) for name in ("is_tail", "is_cold"))
    return Catalogue(items["popularity"].to_numpy(), is_tail, is_cold, n_users)


def sample(histories: csr_array[Any], n: int, *, seed: int) -> csr_array[Any]:
    """Return at most n of the rows, drawn under the seed."""
    if histories.shape[0] <= n:
        return histories
    return histories[np.sort(np.random.default_rng(seed).choice(histories.shape[0], n, replace=False))]
