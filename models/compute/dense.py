"""A dense layer in the layout of the weights that the processor's library multiplies fastest."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Dense:
    """x Wᵀ + b, and gelu of it in the same pass where the CPU's library offers that."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight: (out, in); bias: (out,)."""
        self.is_packed = weight.device.type == "cpu" and torch._C._has_mkldnn
        # oneDNN's own layout: on AMD processors twice as fast as what F.linear and the operator @ call
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.is_packed else weight
        self.bias = bias

    def __call__(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        if not self.is_packed:
            y = F.linear(x, self.weight, self.bias)
            return F.gelu(y) if gelu else y
        after = "gelu" if gelu else "none"
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, after, [], "none"))
