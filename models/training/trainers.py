"""Model families: all train on the same data, yield epochs, and return `Factors`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from models.compute.distributed import Ranks
from models.inference.factors import Factors
from models.training import als, bpr, light_gcn, matrix_factorization, two_tower
from models.training.anchor import TextAnchor
from models.training.interactions import Interactions


class Epoch(Protocol):
    """Fields of an epoch common to all model families."""

    @property
    def number(self) -> int: ...

    @property
    def loss(self) -> float: ...


class Trainer(Protocol):
    """One training run; iterate over `epochs()`; `factors()` returns the model after the latest epoch."""

    @property
    def device(self) -> torch.device: ...

    def epochs(self) -> Iterator[Epoch]: ...

    def factors(self) -> Factors: ...


Settings = als.Settings | matrix_factorization.Settings | bpr.Settings | two_tower.Settings | light_gcn.Settings


def trainer(
    settings: Settings, interactions: Interactions, anchor: TextAnchor | None, *, device: torch.device,
    ranks: Ranks | None = None,
) -> Trainer:  # fmt: skip
    """Return the trainer for these settings; anchor: from the items' texts, None for no texts.

    Only ALS can be trained by several ranks; raises ValueError for any other model.
    """
    if ranks is not None and ranks.size > 1 and not isinstance(settings, als.Settings):
        raise ValueError(
            f"{ranks.size} processes cannot share this model; set train.world_size: 1, or train.model: als"
        )
    match settings:
        case als.Settings():
            return als.Als(interactions, anchor, settings, device=device, ranks=ranks)
        case matrix_factorization.Settings():
            return matrix_factorization.MatrixFactorization(interactions, anchor, settings, device=device)
        case bpr.Settings():
            return bpr.Bpr(interactions, anchor, settings, device=device)
        case two_tower.Settings():
            return two_tower.TwoTower(interactions, anchor, settings, device=device)
        case light_gcn.Settings():
            return light_gcn.LightGcn(interactions, anchor, settings, device=device)
