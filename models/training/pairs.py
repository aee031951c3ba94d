"""Training pairs for gradient descent: renumbered to warm items, cut into minibatches, with exact negatives.

All random numbers come from a generator on the CPU, so that a seed has the same effect on every device.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.training.interactions import Interactions


class Pairs:
    """Observed (user, item) pairs on a device, sorted by user, then item; items count over the `m` warm ones."""

    def __init__(self, interactions: Interactions, *, seed: int, device: torch.device) -> None:
        item_idx = torch.from_numpy(interactions.item_idx).long().to(device)
        self.device = device
        self.generator = torch.Generator().manual_seed(seed)
        self.n_users = interactions.n_users
        self.counts = torch.bincount(item_idx, minlength=interactions.n_items)  # (n_items,)
        self.warm = self.counts > 0  # (n_items,)
        self.n_warm = int(self.warm.sum())  # m
        self.users = torch.from_numpy(interactions.user_idx).long().to(device)  # (pairs,)
        self.items = (self.warm.cumsum(0) - 1)[item_idx]  # (pairs,)
        self.weights = torch.from_numpy(interactions.weights).to(device)  # (pairs,)
        self.lengths = torch.bincount(self.users, minlength=self.n_users)  # (n_users,)
        self.starts = self.lengths.cumsum(0) - self.lengths
        # k-th item of a user minus k, as one ascending sequence over all users: see `negatives`
        before = torch.arange(len(self.users), device=device) - self.starts[self.users]
        self.shifted = self.users * (self.n_warm + 1) + self.items - before

    def normal(self, *shape: int, scale: float) -> Tensor:
        """Return normal draws of standard deviation `scale`, float32, as parameters."""
        return (torch.randn(*shape, generator=self.generator) * scale).to(self.device).requires_grad_()

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield indices of pairs in random order, at most `size` at a time, except for users who have every item."""
        usable = torch.nonzero(self.lengths[self.users] < self.n_warm)[:, 0]
        order = torch.randperm(len(usable), generator=self.generator).to(self.device)
        yield from torch.split(usable[order], size) if len(usable) else ()

    def user_batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield users in random order, with about `size` pairs at a time, and the indices of pairs, user by user."""
        order = torch.randperm(self.n_users, generator=self.generator).to(self.device)
        order = order[self.lengths[order] > 0]
        ends = self.lengths[order].cumsum(0)
        _, sizes = torch.unique_consecutive((ends - 1) // size, return_counts=True)
        for users in torch.split(order, sizes.tolist()):
            lengths = self.lengths[users]
            first = lengths.cumsum(0) - lengths
            shift = torch.repeat_interleave(self.starts[users] - first, lengths)
            yield users, torch.arange(len(shift), device=self.device) + shift

    def negatives(self, pairs: Tensor) -> Tensor:
        """Return an item per pair that its user does not have, uniformly drawn, (len(pairs),).

        The r-th item missing from an ascending history p_0 < p_1 < … is r + #{k: p_k - k ≤ r}, so one search suffices.
        Users must have fewer than all warm items.
        """
        users = self.users[pairs]
        missing = self.n_warm - self.lengths[users]
        draws = torch.rand(len(pairs), generator=self.generator, dtype=torch.float64).to(self.device)
        r = (draws * missing).long()  # float64 below 1 times an integer below 2^53 stays below that integer
        passed = torch.searchsorted(self.shifted, users * (self.n_warm + 1) + r, right=True) - self.starts[users]
        return r + passed
