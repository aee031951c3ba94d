"""A dense layer with weights in the fastest layout of the processor's library."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Dense:
    """x Wᵀ + b, and its gelu in the same pass if the CPU's library supports it."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Convert the weights; weight: (out, in); bias: (out,)."""
        self.is_packed = weight.device.type == "cpu" and torch._C._has_mkldnn
        # oneDNN's own layout: on AMD processors twice as fast as F.linear and the operator @
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.is_packed else weight
        self.bias = bias

    def __call__(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        if not self.is_packed:
            y = F.linear(x, self.weight, self.bias)
            return F.gelu(y) if gelu else y
        after = "gelu" if gelu else "none"
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, after, [], "none"))
