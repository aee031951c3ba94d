"""Model families: all train on the same data, yield epochs, and return `Factors`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch

from models.compute.distributed import Ranks
from models.inference.factors import Factors
from models.training import als, bpr, light_gcn, matrix_factorization, settings, two_tower
from models.training.anchor import TextAnchor
from models.training.interactions import Interactions
from models.training.settings import Settings


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


BUILT_FROM: dict[type[Settings], Callable[..., Trainer]] = {
    settings.Mf: matrix_factorization.MatrixFactorization,
    settings.Bpr: bpr.Bpr,
    settings.TwoTower: two_tower.TwoTower,
    settings.LightGcn: light_gcn.LightGcn,
}


def trainer(
    chosen: Settings, interactions: Interactions, anchor: TextAnchor | None, *, device: torch.device,
    ranks: Ranks | None = None,
) -> Trainer:  # fmt: skip
    """Return the trainer for these settings; anchor: from the items' texts, None for no texts.

    Only ALS can be trained by several ranks; raises ValueError for any other model.
    """
    if isinstance(chosen, settings.Als):
        return als.Als(interactions, anchor, chosen, device=device, ranks=ranks)
    if ranks is not None and ranks.size > 1:
        raise ValueError(
            f"{ranks.size} processes cannot share this model; set train.world_size: 1, or train.model: als"
        )
    return BUILT_FROM[type(chosen)](interactions, anchor, chosen, device=device)
