"""Conversion of trained tensors to `Factors`, the last step of every trainer."""

from __future__ import annotations

import torch
from torch import Tensor

from models.inference.factors import Factors
from models.inference.user_side import UserSide
from models.training.anchor import TextAnchor


def export(item_factors: Tensor, counts: Tensor, users: UserSide, anchor: TextAnchor | None) -> Factors:
    """Return the served model, on the CPU.

    item_factors: (n, d), with cold items; counts: (n,) train interactions; anchor: as last fitted.
    """
    y = item_factors.detach()
    warm = y[counts > 0].double()
    mean, weights = anchor.affine() if anchor is not None else (torch.zeros(0), torch.zeros(1, y.shape[1]))
    return Factors(
        item_factors=y.float().cpu().numpy(),
        gram=(warm.T @ warm).float().cpu().numpy(),
        n_warm_items=len(warm),
        users=(users,),
        popularity_bias=popularity_bias(counts).cpu().numpy(),
        text_mean=mean.cpu().numpy(),
        text_weights=weights.cpu().numpy(),
    )


def popularity_bias(counts: Tensor) -> Tensor:
    """Return log(1 + train users) / log(1 + largest), float32 (n,) in [0, 1]."""
    popularity = torch.log1p(counts.double())
    return (popularity / popularity.max()).float()


def with_cold(values: Tensor, warm: Tensor, anchor: TextAnchor | None) -> Tensor:
    """Return rows (n, d) of all items from rows (m, d) of warm ones: the rest is predicted from text, or zero.

    warm: bool (n,). The anchor is fitted to the values; it must have been prepared with weights of warm items.
    """
    rows = values.new_zeros(len(warm), values.shape[1])
    rows[warm] = values.detach()
    if anchor is not None:
        anchor.fit(rows)
        rows[~warm] = anchor.predict()[~warm]
    return rows
