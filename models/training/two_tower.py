"""Two towers: a perceptron on a user's history and one on an item, scored by their inner product.

    s_j = h_j + T e_j,   x_u = f((Σ_j w_uj s_j) / Σ_j w_uj),   y_i = g(v_i + V e_i),   P(i | u) ∝ exp(x_u·y_i)

e is an item's text, h and v are learned per item; f and g have one rectified hidden layer. An item is excluded from the
history that predicts it. The softmax is over sampled items, corrected for their sampling probability (Bengio and
Senécal 2008; Yi et al. 2019). v is dropped at random in training (as in Volkovs et al. 2017), so that g works with text
alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.inference.factors import Factors
from models.inference.user_side import Layer, Pooling
from models.training.anchor import TextAnchor
from models.training.epochs import Epoch, descend, step
from models.training.export import export
from models.training.interactions import Interactions
from models.training.pairs import Pairs
from models.training.settings import TwoTower as TwoTowerSettings


class Tower:
    """A tower: learned and text features of items, and a perceptron on them or on their mean."""

    def __init__(self, pairs: Pairs, text: Tensor, settings: TwoTowerSettings) -> None:
        """Initialize the parameters; text: (n_items, t)."""
        d, hidden = settings.embedding_dim, settings.hidden
        self.text = text
        self.ids = pairs.normal(pairs.n_warm, d, scale=0.1)
        self.projection = pairs.normal(text.shape[1], d, scale=0.1)
        self.weights = [pairs.normal(d, hidden, scale=(2 / d) ** 0.5), pairs.normal(hidden, d, scale=hidden**-0.5)]
        self.biases = [torch.zeros(n, device=pairs.device, requires_grad=True) for n in (hidden, d)]

    def parameters(self) -> list[Tensor]:
        return [self.ids, self.projection, *self.weights, *self.biases]

    def features(self, ids: Tensor, item_idx: Tensor) -> Tensor:
        """Return inputs (b, d) of the perceptron, for learned parts (b, d) of items (b,)."""
        return ids + self.text[item_idx] @ self.projection

    def layers(self) -> tuple[Layer, ...]:
        """Return the served perceptron, a copy that further training does not change."""
        arrays = ([t.detach().cpu().numpy().copy() for t in side] for side in (self.weights, self.biases))
        return tuple(Layer(weight, bias) for weight, bias in zip(*arrays, strict=True))

    def perceptron(self, x: Tensor) -> Tensor:
        """Apply the perceptron, (b, d) -> (b, d)."""
        hidden = torch.relu(x @ self.weights[0] + self.biases[0])
        return hidden @ self.weights[1] + self.biases[1]


def sampled_softmax(positive: Tensor, sampled: Tensor, expected: Tensor, hits: Tensor) -> Tensor:
    """Return -ln of exp(s_i) / (exp(s_i) + Σ_k exp(s_k) / expected_k), (b,): the sum estimates the one over all others.

    positive: scores (b,); sampled: scores (b, s) of drawn items; expected: expected number of draws of each (s,);
    hits: bool (b, s), True if the drawn item is the positive one, which is already counted.
    """
    corrected = (sampled - expected.log()).masked_fill(hits, -torch.inf)
    return torch.logaddexp(positive, corrected.logsumexp(1)) - positive


class TwoTower:
    """One training run; iterate over `epochs()`, then take `factors()`."""

    def __init__(
        self, interactions: Interactions, anchor: TextAnchor | None, settings: TwoTowerSettings, *, device: torch.device
    ) -> None:
        self.settings, self.anchor, self.device = settings, anchor, device
        self.pairs = Pairs(interactions, seed=settings.seed, device=device)
        text = torch.zeros(interactions.n_items, 0, device=device)
        if anchor is not None:
            anchor.prepare(torch.ones(interactions.n_items, device=device))
            text = anchor.features[:, :-1]  # centred, with mean square 1
        self.user_tower, self.item_tower = (Tower(self.pairs, text, settings) for _ in range(2))
        self.warm_idx = torch.nonzero(self.pairs.warm)[:, 0]  # (m,)
        counts = self.pairs.counts[self.warm_idx].double()
        self.proposal = (counts / counts.sum() + 1 / len(counts)) / 2  # half popularity, half uniform, (m,)

    def epochs(self) -> Iterator[Epoch]:
        """Train, yielding after each epoch; raises ValueError if the parameters become NaN or infinite."""
        settings, parameters = self.settings, self.user_tower.parameters() + self.item_tower.parameters()
        optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)

        def epoch() -> float:
            total = 0.0
            for users, pairs in self.pairs.user_batches(settings.batch_pairs):
                loss = self.loss(users, pairs)
                step(optimizer, loss)
                total += loss.item() * len(pairs)
            return total / len(self.pairs.users)

        return descend(epoch, parameters, epochs=settings.epochs)

    def loss(self, users: Tensor, pairs: Tensor) -> Tensor:
        """Return the sampled softmax, weighted mean over the pairs of users (b,), given by index."""
        x, positives, weights = self.without_itself(users, pairs), self.pairs.items[pairs], self.pairs.weights[pairs]
        drawn = self.draw(self.settings.negatives)
        candidates, places = torch.unique(torch.cat([positives, drawn]), return_inverse=True)
        y = self.items(candidates, drop=True)
        positive = (x * y[places[: len(pairs)]]).sum(1)
        sampled = x @ y[places[len(pairs) :]].T  # (pairs, negatives)
        expected = (self.proposal[drawn] * len(drawn)).float()
        losses = sampled_softmax(positive, sampled, expected, drawn[None] == positives[:, None])
        return (weights * losses).sum() / weights.sum()

    def draw(self, n: int) -> Tensor:
        """Draw warm items (n,) with replacement from the proposal."""
        draws = torch.rand(n, generator=self.pairs.generator, dtype=torch.float64).to(self.device)
        return torch.searchsorted(self.proposal.cumsum(0), draws).clamp(max=self.pairs.n_warm - 1)

    def without_itself(self, users: Tensor, pairs: Tensor) -> Tensor:
        """Return user vectors (pairs, d), each of the history without the pair's own item; zeros if that is empty."""
        tower, weights = self.user_tower, self.pairs.weights[pairs, None]
        rows = torch.repeat_interleave(torch.arange(len(users), device=self.device), self.pairs.lengths[users])
        items, places = torch.unique(self.pairs.items[pairs], return_inverse=True)
        weighted = weights * tower.features(tower.ids[items], self.warm_idx[items])[places]  # (pairs, d)
        sums = torch.zeros(len(users), weighted.shape[1], device=self.device).index_add(0, rows, weighted)
        totals = torch.zeros(len(users), 1, device=self.device).index_add(0, rows, weights)
        several = (self.pairs.lengths[users] > 1)[rows, None]
        rest = torch.where(several, totals[rows] - weights, 1.0)
        return tower.perceptron(torch.where(several, (sums[rows] - weighted) / rest, 0.0))

    def items(self, items: Tensor, *, drop: bool = False) -> Tensor:
        """Return vectors (b, d) of warm items (b,)."""
        tower, ids = self.item_tower, self.item_tower.ids[items]
        if drop and self.anchor is not None:
            kept = torch.rand(len(items), 1, generator=self.pairs.generator) >= self.settings.id_dropout
            ids = ids * kept.to(self.device)
        return tower.perceptron(tower.features(ids, self.warm_idx[items]))

    @torch.no_grad()
    def factors(self) -> Factors:
        """Return the served model; cold items pass the tower with their text alone, zero without text."""
        every = torch.arange(len(self.pairs.warm), device=self.device)
        sources, item_factors = (torch.zeros(len(every), self.settings.embedding_dim, device=self.device) for _ in "ab")
        if self.anchor is not None:
            nothing = torch.zeros_like(sources)
            sources = self.user_tower.features(nothing, every)
            item_factors = self.item_tower.perceptron(self.item_tower.features(nothing, every))
            self.anchor.fit(item_factors)  # the map of any other text: a ridge fit to the tower's output
        sources[self.warm_idx] += self.user_tower.ids
        item_factors[self.warm_idx] = self.items(torch.arange(self.pairs.n_warm, device=self.device))
        users = Pooling(sources.cpu().numpy(), 1.0, self.user_tower.layers())
        return export(item_factors, self.pairs.counts, users, self.anchor)
