"""The loop of gradient descent over epochs, with an error on the first NaN or infinity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.compute.single_thread import single_thread


@dataclass(frozen=True)
class Epoch:
    """State after one epoch."""

    number: int
    loss: float  # mean over the epoch's terms, during training


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Make one gradient step on the loss."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()


def descend(epoch: Callable[[], float], parameters: Iterable[Tensor], *, epochs: int) -> Iterator[Epoch]:
    """Yield after each epoch; `epoch` trains once through the data and returns the loss.

    Raises ValueError if the loss or a parameter is NaN or infinite.
    """
    watched = list(parameters)
    for number in range(1, epochs + 1):
        with single_thread():  # gradients are sums that round differently by the number of threads
            loss = epoch()
        if not (math.isfinite(loss) and all(bool(torch.isfinite(p).all()) for p in watched)):
            raise ValueError(
                f"the loss is {loss} after epoch {number} and not every parameter is finite: training diverged; "
                "lower the model's learning_rate"
            )
        yield Epoch(number, loss)
