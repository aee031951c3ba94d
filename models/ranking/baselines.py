"""Baseline scorers: most popular items, random items, and items of similar text."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from models.compute.dense import Dense
from models.inference.factors import Factors
from models.inference.user_side import Floats
from models.ranking.ranking import Rows, Scorer


def popularity(users_of_item: npt.NDArray[np.number[Any]]) -> Scorer:
    """Rank items by train users, equally for all users, ties in order of the item index. users_of_item: (n_items,)."""
    rank = np.empty(len(users_of_item), np.float32)  # ranks: distinct scores need no tie handling in `top_k`
    rank[np.argsort(-users_of_item.astype(np.float64), kind="stable")] = np.arange(len(users_of_item))
    scores = -torch.from_numpy(rank)
    return lambda rows: scores.repeat(len(rows), 1)


def random(n_items: int, *, seed: int) -> Scorer:
    """Return uniform scores; a user's scores depend on seed and row alone, not on the batches."""

    def score(rows: Rows) -> Tensor:
        draws = [np.random.default_rng([seed, int(row)]).random(n_items, np.float32) for row in rows]
        return torch.from_numpy(np.stack(draws))

    return score


def content(histories: csr_array[Any], embeddings: npt.NDArray[np.floating[Any]], *, device: torch.device) -> Scorer:
    """Score by text alone: the mean cosine of an item to the items of the history, 0 for an empty history.

    histories: (n_users, n_items), stored entries are interactions; embeddings: unit vectors (n_items, t).
    """
    lengths = np.maximum(np.diff(histories.indptr), 1)
    texts = np.asarray(embeddings, np.float32)
    interactions = csr_array((np.ones(len(histories.indices), np.float32), histories.indices, histories.indptr),
                        shape=histories.shape)  # fmt: skip
    means = torch.from_numpy((interactions @ texts / lengths[:, None]).astype(np.float32)).to(device)  # (n_users, t)
    return products(means, torch.from_numpy(texts).to(device))


def factors(model: Factors, users: Floats, *, device: torch.device) -> Scorer:
    """Score by inner products of folded-in users (n_users, d) with all items of a model."""
    items = torch.from_numpy(model.item_vectors()).to(device)
    return products(torch.from_numpy(model.queries(users)).to(device), items)


def products(users: Tensor, items: Tensor) -> Scorer:
    """Score by inner products of users (n_users, d) with items (n_items, d), float32 and on one device."""
    with_all = Dense(items)
    return lambda rows: with_all(users[torch.from_numpy(rows).to(users.device)])
