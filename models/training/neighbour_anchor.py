"""Text anchor with a kNN correction: the residuals of the ridge regression, averaged over items with similar text.

    a_i = strength · (W f_i + share · Σ_j w_ij (y_j - W f_j))

The first term is `models.training.anchor`; w_ij are the kriging weights of the warm items nearest in text
(`inference.text_neighbours`), without the item itself, so that its factor is drawn towards those of its neighbours:
sequels, editions and near-duplicates share information, which helps most if each has few interactions. The residuals
y_j - W f_j are those after the last epoch, fixed during an epoch.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.inference.text_neighbours import Floats, Neighbours
from models.training.anchor import TextAnchor

Indices = npt.NDArray[np.int64]
SUPPORT = 50_000  # at most so many items, those of the largest weights, are neighbours of others ...
DISTANCES = 4 * 10**9  # ... and at most so many distances between texts are computed: about a minute, once per training


class NeighbourAnchor(TextAnchor):
    """Text prior of item factors for `n` items with `t` text dimensions."""

    def __init__(self, embeddings: Tensor, *, strength: float, ridge: float, share: float) -> None:
        """Prepare the linear anchor; share: weight of the correction by neighbours; 0 leaves the linear map."""
        super().__init__(embeddings, strength=strength, ridge=ridge)
        self.share = share

    def prepare(self, weights: Tensor) -> None:
        """Compute the constants of the training. weights: (n,), 0 for items that are no neighbours (cold ones)."""
        super().prepare(weights)
        self.smoother = sparse(*self._smoothing(weights), n=len(weights)).to(weights.device)  # share · w_ij, (n, n)

    def _smoothing(self, weights: Tensor) -> tuple[Indices, Indices, Floats]:
        """Return items, their neighbours, and share · w_ij, all (m,)."""
        centred, known = self.features[:, :-1].cpu().numpy(), weights.cpu().numpy()
        has_text = self.embeddings.any(dim=1).cpu().numpy()
        most = min(SUPPORT, max(1, DISTANCES // len(known)))
        sources = np.flatnonzero(has_text & (known > 0))
        sources = np.sort(sources[np.argsort(-known[sources], kind="stable")[:most]])
        targets = np.flatnonzero(has_text)
        if not self.share or not len(sources):
            return sources[:0], sources[:0], np.zeros(0, np.float32)
        items, others, values = [], [], []
        for part, positions, found in Neighbours.of(sources, centred[sources]).near(centred[targets], targets):
            items.append(np.repeat(targets[part], positions.shape[1]))
            others.append(sources[positions].ravel())
            values.append(found.ravel() * np.float32(self.share))
        return np.concatenate(items), np.concatenate(others), np.concatenate(values)

    def fit(self, item_factors: Tensor) -> None:
        """Fit W of the ridge regression onto factors (n, d), and the correction of every item by its neighbours."""
        super().fit(item_factors)
        self.correction = self.smoother @ (item_factors - self.features @ self.weights)  # (n, d)

    def turn(self, basis: Tensor) -> None:
        """Rotate along with item factors, by an orthogonal basis (d, d)."""
        super().turn(basis)
        self.correction = self.correction @ basis

    def predict(self) -> Tensor:
        """Return the anchors of all items, (n, d)."""
        return super().predict() + self.strength * self.correction


def sparse(rows: Indices, columns: Indices, values: Floats, *, n: int) -> Tensor:
    """Return a sparse (n, n) tensor that is fast in products; rows must ascend."""
    counts = np.bincount(rows, minlength=n)
    offsets = torch.from_numpy(np.concatenate([[0], counts.cumsum()]))
    with warnings.catch_warnings():  # torch warns at the first use that CSR is in beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            offsets, torch.from_numpy(columns), torch.from_numpy(values), size=(n, n), check_invariants=False
        )
