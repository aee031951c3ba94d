"""LightGCN: embeddings smoothed over the graph of users and items, trained to rank (BPR).

    E = (E⁰ + Â E⁰ + … + Â^K E⁰) / (K + 1),    Â = D^-1/2 A D^-1/2,  A the weighted adjacency of users and items

He et al. 2020, arXiv:2002.02126. The loss is `training.bpr`'s on E, with λ on E⁰. Propagation is linear and its matrix
symmetric, so the gradient with respect to E⁰ is the propagated gradient with respect to E: no graph is recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from models.inference.factors import Factors
from models.inference.user_side import Pooling
from models.training.anchor import TextAnchor
from models.training.bpr import bpr_loss, squares
from models.training.epochs import Epoch, descend
from models.training.export import export, with_cold
from models.training.interactions import Interactions
from models.training.pairs import Pairs
from models.training.settings import LightGcn as LightGcnSettings


class LightGcn:
    """One training run; iterate over `epochs()`, then take `factors()`."""

    def __init__(
        self, interactions: Interactions, anchor: TextAnchor | None, settings: LightGcnSettings, *, device: torch.device
    ) -> None:
        self.settings, self.anchor, self.device = settings, anchor, device
        self.pairs = Pairs(interactions, seed=settings.seed, device=device)
        nodes = interactions.n_users + self.pairs.n_warm
        self.embeddings = self.pairs.normal(nodes, settings.embedding_dim, scale=0.1)  # E⁰: users, then warm items
        self.degrees, self.adjacency = normalized_adjacency(self.pairs)
        if anchor is not None:
            anchor.prepare(self.pairs.counts.float())

    def epochs(self) -> Iterator[Epoch]:
        """Train, yielding after each epoch; raises ValueError if the embeddings become NaN or infinite."""
        optimizer = torch.optim.Adam([self.embeddings], lr=self.settings.learning_rate)

        def epoch() -> float:
            total, n_pairs = 0.0, 0
            for batch in self.pairs.batches(self.settings.batch_pairs):
                loss = self.backward(batch, self.pairs.negatives(batch))
                optimizer.step()
                total, n_pairs = total + loss * len(batch), n_pairs + len(batch)
            return total / max(n_pairs, 1)

        return descend(epoch, [self.embeddings], epochs=self.settings.epochs)

    def backward(self, batch: Tensor, negatives: Tensor) -> float:
        """Return the loss of pairs given by index (b,) with a negative item each (b,), and set the gradient of E⁰."""
        n_users = self.pairs.n_users
        nodes = self.pairs.users[batch], n_users + self.pairs.items[batch], n_users + negatives
        final = self.propagate().requires_grad_()
        x, y, other = (final[rows] for rows in nodes)
        ranking = bpr_loss(x, y, other, self.pairs.weights[batch])
        (gradient,) = torch.autograd.grad(ranking, final)
        penalty = self.settings.regularization * squares(*(self.embeddings[rows] for rows in nodes))
        (shrinking,) = torch.autograd.grad(penalty, self.embeddings)
        self.embeddings.grad = mean_of_layers(self.adjacency, gradient, self.settings.layers) + shrinking
        return (ranking + penalty).item()

    def propagate(self) -> Tensor:
        """Return E (n_users + m, d)."""
        return mean_of_layers(self.adjacency, self.embeddings.detach(), self.settings.layers)

    def factors(self) -> Factors:
        """Return the served model: a user is the propagated sum over its history.

        e_u = (Σ w)^-1/2 Σ_i w_ui s_i + e_u⁰ / (K + 1),  s_i = (e_i⁰ + … + e_i^(K-1)) / ((K + 1) √deg_i)

        The last term, the user's own embedding, is omitted: a new user has none. The rest is exact.
        """
        n_users, layers = self.pairs.n_users, self.settings.layers
        kept = mean_of_layers(self.adjacency, self.embeddings.detach(), layers - 1) * layers / (layers + 1)
        sources = (kept / self.degrees.clamp(min=1e-30).sqrt()[:, None])[n_users:]
        every_source = with_cold(sources, self.pairs.warm, self.anchor)
        y = with_cold(self.propagate()[n_users:], self.pairs.warm, self.anchor)
        users = Pooling(every_source.cpu().numpy(), exponent=0.5)
        return export(y, self.pairs.counts, users, self.anchor)


def normalized_adjacency(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return weighted degrees (n_users + m,) and Â, sparse CSR (n_users + m, n_users + m)."""
    nodes = pairs.n_users + pairs.n_warm
    ends = torch.stack([pairs.users, pairs.n_users + pairs.items])  # (2, pairs)
    edges, weights = torch.hstack([ends, ends.flip(0)]), pairs.weights.repeat(2)
    degrees = torch.zeros(nodes, device=pairs.device).index_add_(0, edges[0], weights)
    normalized = weights / (degrees[edges[0]] * degrees[edges[1]]).sqrt()
    with warnings.catch_warnings():  # torch warns at the first use that CSR is in beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        coordinates = torch.sparse_coo_tensor(edges, normalized, (nodes, nodes), check_invariants=False)
        return degrees, coordinates.to_sparse_csr()


def mean_of_layers(adjacency: Tensor, x: Tensor, layers: int) -> Tensor:
    """Return (x + Â x + … + Â^layers x) / (layers + 1), for x (nodes, d)."""
    total = x
    for _ in range(layers):
        x = adjacency @ x
        total = total + x
    return total / (layers + 1)
