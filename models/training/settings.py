"""Hyper-parameters of every model that can be trained, each with the bounds of its value.

The section `train` of params.yaml takes fields and bounds from here. No torch: settings are read by every command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Count = Annotated[int, Ge(1)]
Dim = Annotated[int, Ge(1), Le(4096)]
Epochs = Annotated[int, Ge(1), Le(1000)]
Positive = Annotated[float, Gt(0)]
Regularization = Annotated[float, Ge(0), Le(1000)]
UnobservedWeight = Annotated[float, Gt(0), Le(10)]


@dataclass(frozen=True)
class Als:
    """Of `als.py`; see its equation."""

    embedding_dim: Dim  # d
    epochs: Epochs
    unobserved_weight: UnobservedWeight  # α
    regularization: Annotated[float, Gt(0), Le(1000)]  # λ, mean over the rows that have interactions
    frequency_exponent: Annotated[float, Ge(0), Le(2)]  # ν
    cg_steps: Annotated[int, Ge(1), Le(100)]
    seed: int


@dataclass(frozen=True)
class Mf:
    """Of `matrix_factorization.py`; see its equation."""

    embedding_dim: Dim  # d
    epochs: Epochs
    learning_rate: Positive
    unobserved_weight: UnobservedWeight  # α
    regularization: Regularization  # λ
    batch_pairs: Count  # approximate number of pairs of a minibatch's users
    seed: int


@dataclass(frozen=True)
class Bpr:
    """Of `bpr.py`; see its equation."""

    embedding_dim: Dim  # d
    epochs: Epochs
    learning_rate: Positive
    regularization: Regularization  # λ
    batch_pairs: Count
    seed: int


@dataclass(frozen=True)
class TwoTower:
    """Of `two_tower.py`; see its equation."""

    embedding_dim: Dim  # of x, y, h and v
    hidden: Dim  # width of both perceptrons
    epochs: Epochs
    learning_rate: Positive
    weight_decay: Regularization  # of AdamW
    id_dropout: Annotated[float, Ge(0), Lt(1)]  # probability that v is dropped
    batch_pairs: Count  # approximate number of pairs of a minibatch's users
    negatives: Count  # drawn per minibatch, shared by its pairs
    seed: int


@dataclass(frozen=True)
class LightGcn:
    """Of `light_gcn.py`; see its equation."""

    embedding_dim: Dim  # d
    layers: Annotated[int, Ge(1), Le(10)]  # K
    epochs: Epochs
    learning_rate: Positive
    regularization: Regularization  # λ
    batch_pairs: Count  # every batch costs two propagations over the whole graph
    seed: int


Settings = Als | Mf | Bpr | TwoTower | LightGcn
FAMILIES: dict[str, type[Settings]] = {
    "als": Als, "mf": Mf, "bpr": Bpr, "two_tower": TwoTower, "light_gcn": LightGcn
}  # fmt: skip
