"""Holdout as arrays: its users, their earlier interactions, and the test pairs to evaluate lists by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array

from models.evaluation import measure
from models.evaluation.metric import Catalogue
from models.ranking.seen import Seen
from pipelines.artifacts import embeddings_file, outputs, tables

Sparse = csr_array[Any]


@dataclass(frozen=True)
class Holdout:
    """Split as arrays; a row is a user with test interactions."""

    user_idx: npt.NDArray[np.int32]  # (n_rows,)
    items: pa.Table
    catalogue: Catalogue
    histories: Sparse  # train pairs (n_rows, n_items)
    seen: Seen  # train and valid pairs
    relevant: measure.Relevant
    embeddings: npt.NDArray[np.floating[Any]]  # of the items' texts (n_items, t)
    encoder: str


def read(stage: outputs.StageRun, *, n_users: int) -> Holdout:
    """Read the split and the embeddings of its items. Raises ValueError if the test set has no users."""
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
    catalogue = Catalogue(
        items["popularity"].to_numpy(), items["is_tail"].to_numpy(), items["is_cold"].to_numpy(), n_users
    )
    seen = Seen((histories + pairs(valid, user_idx, shape)).tocsr())
    embeddings, encoder = embeddings_file.read(stage.input("embed", embeddings_file.NAME), n_items=items.num_rows)
    pairs_of_test = measure.Relevant(relevant.row, relevant.col)
    return Holdout(user_idx, items, catalogue, histories, seen, pairs_of_test, embeddings, encoder)


def pairs(table: pa.Table, user_idx: npt.NDArray[np.int32], shape: tuple[int, int]) -> Sparse:
    """Return the table's pairs of the given users as ones in a sparse (n_rows, n_items)."""
    users, items = table["user_idx"].to_numpy(), table["item_idx"].to_numpy()
    evaluated = np.isin(users, user_idx)
    rows = np.searchsorted(user_idx, users[evaluated])
    return csr_array((np.ones(len(rows), np.float32), (rows, items[evaluated])), shape=shape)
