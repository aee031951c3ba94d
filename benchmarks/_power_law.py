"""Synthetic interactions for speed measurements: power-law users and items, and learnable tastes.

Items belong to groups, a user likes a few groups, and most interactions are with items of these, popular ones first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.training.interactions import Interactions

GROUP_ITEMS = 150
LIKED = 4  # groups per user
FROM_LIKED = 0.8  # of the draws; the others are from the whole catalogue
DRAWS = 1.6  # per wanted pair, since some repeat
USERS_AT_A_TIME = 20_000  # bounds the memory
VALID = 0.05  # of the pairs


@dataclass(frozen=True)
class Sample:
    """Distinct pairs sorted by user, then item; each is held out for validation with the same probability."""

    train: Interactions
    valid_user_idx: npt.NDArray[np.int32]
    valid_item_idx: npt.NDArray[np.int32]


def sample(n_users: int, n_items: int, n_pairs: int, *, seed: int) -> Sample:
    """Return about `n_pairs` pairs; equal arguments give equal pairs."""
    rng, n_groups = np.random.default_rng(seed), max(1, n_items // GROUP_ITEMS)
    activity = np.minimum(rng.pareto(1.8, n_users) + 0.3, 60)
    activity *= DRAWS * n_pairs / activity.sum()
    popularity = rng.permutation((np.arange(n_items) + 20.0) ** -0.9)
    borders = np.concatenate([[0.0], np.cumsum(popularity)])  # item i is drawn by a number in borders[i] .. [i + 1]
    group_borders = borders[np.linspace(0, n_items, n_groups + 1).astype(np.int64)]
    parts: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.bool_]]] = []
    for first in range(0, n_users, USERS_AT_A_TIME):
        users = np.arange(first, min(first + USERS_AT_A_TIME, n_users))
        draws = np.repeat(users, rng.poisson(activity[users]) + 1)
        liked = rng.integers(0, n_groups, (len(users), LIKED))
        group = liked[draws - first, rng.integers(0, LIKED, len(draws))]
        anywhere = rng.random(len(draws)) > FROM_LIKED
        low = np.where(anywhere, 0, group_borders[group])
        high = np.where(anywhere, borders[-1], group_borders[group + 1])
        items = np.searchsorted(borders, low + rng.random(len(draws)) * (high - low), side="right") - 1
        keys = np.unique(draws * n_items + np.minimum(items, n_items - 1))
        held_out = rng.random(len(keys)) < VALID
        parts.append(((keys // n_items).astype(np.int32), (keys % n_items).astype(np.int32), held_out))
    user_idx = np.concatenate([part[0] for part in parts])
    item_idx = np.concatenate([part[1] for part in parts])
    held_out = np.concatenate([part[2] for part in parts])
    kept = ~held_out
    ones = np.broadcast_to(np.float32(1), int(kept.sum()))
    train = Interactions(user_idx[kept], item_idx[kept], ones, n_users, n_items)
    return Sample(train, user_idx[held_out], item_idx[held_out])
