"""Implicit-feedback matrix factorization by alternating least squares, with text-anchored item factors.

    min  Σ_(u,i) observed c_ui (1 - x_u·y_i)² + α Σ_u Σ_i (x_u·y_i)²
         + Σ_u λ_u |x_u|² + Σ_i λ_i |y_i - a_i|²

α weighs every pair (Hu, Koren, Volinsky 2008; Rendle et al. 2021, arXiv:2110.14037), λ grows with how often a user or
an item occurs (the same paper, eq. 7), and a_i is the factor that the item's text predicts (`models.anchor`), so that
an item without interactions still has one.

Each half-sweep improves all rows at once by preconditioned conjugate gradient without forming any d x d system per row:
in the eigenbasis of the Gram matrix «all pairs + regularization» is a diagonal, which is also the preconditioner.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.anchor import TextAnchor
from models.factors import Factors
from models.user_side import LeastSquares

CELLS_PER_CHUNK = 1 << 20  # interactions that are worked on at a time; bounds the memory of a half-sweep


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; see the module's equation."""

    embedding_dim: int  # d
    epochs: int
    unobserved_weight: float  # α
    regularization: float  # λ, mean over the rows that have interactions
    frequency_exponent: float  # ν
    cg_steps: int
    seed: int


@dataclass(frozen=True)
class Interactions:
    """Distinct (user, item) pairs sorted by user, then item."""

    user_idx: npt.NDArray[np.int32]
    item_idx: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]  # c_ui > 0
    n_users: int
    n_items: int

    def __post_init__(self) -> None:
        """Raises ValueError for what no factorization can be fitted to."""
        if len(self.user_idx) == 0:
            raise ValueError("there are 0 training interactions, expected at least 1; look at the split's shares")
        for name, idx, n in (("user_idx", self.user_idx, self.n_users), ("item_idx", self.item_idx, self.n_items)):
            if idx.min() < 0 or idx.max() >= n:
                raise ValueError(f"{name} spans {idx.min()}..{idx.max()}, expected 0..{n - 1}; run `dvc repro split`")
        keys = self.user_idx.astype(np.int64) * self.n_items + self.item_idx
        if not (np.diff(keys) > 0).all():
            raise ValueError("the pairs are not distinct and sorted by (user_idx, item_idx); run `dvc repro split`")
        if not (np.isfinite(self.weights) & (self.weights > 0)).all():
            raise ValueError("an interaction's weight is not a positive finite number; look at `value` in the input")


@dataclass
class Epoch:
    """State after one epoch. The tensors are live: copy what shall outlast the next epoch."""

    number: int
    loss: float  # the objective, divided by the number of observed pairs
    user_factors: Tensor  # float32 (n_users, d)
    item_factors: Tensor  # float32 (n_items, d)


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one side, with their slice of the interactions."""

    first: int
    last: int  # exclusive
    begin: int
    end: int  # of the interactions, exclusive
    pattern: Tensor  # sparse CSR (last - first, n_columns)
    offsets: Tensor  # int64 (last - first + 1)
    columns: Tensor  # int64 (end - begin)


class Side:
    """The interactions grouped by their rows: users, or items."""

    def __init__(self, rows: Tensor, columns: Tensor, weights: Tensor, n_rows: int, n_columns: int) -> None:
        self.counts = torch.bincount(rows, minlength=n_rows)  # int64 (n_rows)
        self.weights = weights
        self.chunks = list(self._cut(columns, n_columns))

    def _cut(self, columns: Tensor, n_columns: int) -> Iterator[Chunk]:
        ends = self.counts.cumsum(0).cpu()
        first, n_rows = 0, len(ends)
        while first < n_rows:
            begin = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(torch.searchsorted(ends, begin + CELLS_PER_CHUNK, right=True)))
            end = int(ends[last - 1])
            offsets = torch.zeros(last - first + 1, dtype=torch.int64, device=columns.device)
            offsets[1:] = (ends[first:last] - begin).to(columns.device)
            cols = columns[begin:end]
            with warnings.catch_warnings():  # torch says at the first use that CSR is in beta
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
                zeros, shape = torch.zeros(len(cols), device=cols.device), (last - first, n_columns)
                pattern = torch.sparse_csr_tensor(offsets, cols, zeros, shape, check_invariants=False)
            yield Chunk(first, last, begin, end, pattern, offsets, cols)
            first = last


class Als:
    """One training run; iterate over `epochs()`, then take `factors()`."""

    def __init__(
        self, interactions: Interactions, anchor: TextAnchor | None, settings: Settings, *, device: torch.device
    ) -> None:
        self.settings, self.anchor, self.device = settings, anchor, device
        user_idx = torch.from_numpy(interactions.user_idx).long().to(device)
        item_idx = torch.from_numpy(interactions.item_idx).long().to(device)
        weights = torch.from_numpy(interactions.weights).to(device)
        # position of the k-th pair in item order within user order, and back
        self.to_items = torch.argsort(item_idx * interactions.n_users + user_idx)
        self.to_users = torch.argsort(self.to_items)
        shape = (interactions.n_users, interactions.n_items)
        self.users = Side(user_idx, item_idx, weights, *shape)
        self.items = Side(item_idx[self.to_items], user_idx[self.to_items], weights[self.to_items], shape[1], shape[0])
        self.warm = self.items.counts > 0
        self.n_warm = int(self.warm.sum())
        self.user_scale, self.user_regularization = self._regularization(self.users.counts, self.n_warm)
        _, self.item_regularization = self._regularization(self.items.counts, shape[0])
        generator = torch.Generator().manual_seed(settings.seed)
        d = settings.embedding_dim
        self.item_factors = (torch.randn(shape[1], d, generator=generator) * (0.1 / d**0.5)).to(device)
        self.item_factors[~self.warm] = 0
        self.user_factors = torch.zeros(shape[0], d, device=device)
        if anchor is not None:
            anchor.prepare(self.item_regularization * self.warm)
            anchor.fit(self.item_factors)

    def _regularization(self, counts: Tensor, n_columns: int) -> tuple[float, Tensor]:
        """Scale s and λ_r = s (n_r + α n_columns)^ν, its mean over rows with interactions being `regularization`."""
        frequency = (counts + self.settings.unobserved_weight * n_columns).double() ** self.settings.frequency_exponent
        scale = self.settings.regularization / float(frequency[counts > 0].mean())
        return scale, (scale * frequency).float()

    def epochs(self) -> Iterator[Epoch]:
        """Train: yields after each epoch. Raises ValueError when the factors stop being finite."""
        predictions = torch.zeros(len(self.to_items), device=self.device)  # of the observed pairs, in user order
        for number in range(1, self.settings.epochs + 1):
            self.user_factors, predictions = self._sweep(
                self.users, self.item_factors, self.user_factors, self.user_regularization, None, predictions
            )
            prior = self.anchor.predict() if self.anchor is not None else None
            self.item_factors, predictions = self._sweep(
                self.items, self.user_factors, self.item_factors, self.item_regularization, prior,
                predictions[self.to_items],
            )  # fmt: skip
            loss = self._loss(predictions, prior)
            predictions = predictions[self.to_users]
            self._fill_cold()
            if not np.isfinite(loss):
                raise ValueError(
                    f"the loss is {loss} after epoch {number}: training diverged; "
                    "raise train.regularization or train.cg_steps"
                )
            yield Epoch(number, loss, self.user_factors, self.item_factors)

    def _fill_cold(self) -> None:
        """Refit the anchor and give items without interactions the factor that their text predicts."""
        if self.anchor is None:
            self.item_factors[~self.warm] = 0
            return
        self.anchor.fit(self.item_factors)
        self.item_factors[~self.warm] = self.anchor.predict()[~self.warm]

    def _sweep(
        self, side: Side, fixed: Tensor, rows: Tensor, regularization: Tensor, prior: Tensor | None, predictions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Improve `rows` (n, d) with `fixed` (m, d) held; returns them and their predictions of the observed pairs."""
        active = fixed[self.warm] if side is self.users else fixed  # cold items are nobody's unobserved pairs
        gram = self.settings.unobserved_weight * (active.T @ active).double()
        eigenvalues, basis = torch.linalg.eigh(gram)
        shared, basis = eigenvalues.clamp(min=0).float(), basis.float()
        fixed, rows = fixed @ basis, rows @ basis
        prior = prior @ basis if prior is not None else None
        result, carried = torch.empty_like(rows), torch.empty_like(predictions)
        for chunk in side.chunks:
            part, span = slice(chunk.first, chunk.last), slice(chunk.begin, chunk.end)
            result[part], carried[span] = conjugate_gradient(
                chunk, fixed, rows[part], predictions[span], side.weights[span],
                diagonal=shared + regularization[part, None],
                pull=regularization[part, None] * prior[part] if prior is not None else None,
                steps=self.settings.cg_steps,
            )  # fmt: skip
        return result @ basis.T, carried

    def _loss(self, predictions: Tensor, prior: Tensor | None) -> float:
        """The objective per observed pair; predictions in item order."""
        x, y = self.user_factors, self.item_factors[self.warm]
        observed = (self.items.weights * (1 - predictions) ** 2).sum()
        everything = self.settings.unobserved_weight * ((x.T @ x) * (y.T @ y)).sum()
        away = y if prior is None else y - prior[self.warm]
        penalty = (self.user_regularization * (x * x).sum(1)).sum()
        penalty += (self.item_regularization[self.warm] * (away * away).sum(1)).sum()
        return float((observed + everything + penalty) / len(predictions))

    def factors(self, *, tail_strength: float) -> Factors:
        """The model as it is served, on the CPU."""
        y = self.item_factors
        warm = y[self.warm].double()
        mean, weights = (
            self.anchor.affine() if self.anchor is not None else (torch.zeros(0), torch.zeros(1, y.shape[1]))
        )
        popularity = torch.log1p(self.items.counts.double())
        users = LeastSquares(
            dim=y.shape[1],
            unobserved_weight=self.settings.unobserved_weight,
            regularization=self.user_scale,
            frequency_exponent=self.settings.frequency_exponent,
        )
        return Factors(
            item_factors=y.cpu().numpy(),
            gram=(warm.T @ warm).float().cpu().numpy(),
            n_warm_items=self.n_warm,
            users=(users,),
            popularity_bias=(popularity / popularity.max()).float().cpu().numpy(),
            tail_strength=tail_strength,
            text_mean=mean.cpu().numpy(),
            text_weights=weights.cpu().numpy(),
        )


def conjugate_gradient(
    chunk: Chunk, fixed: Tensor, rows: Tensor, predictions: Tensor, weights: Tensor,
    *, diagonal: Tensor, pull: Tensor | None, steps: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Solve (diag + Yᵀ C Y) x = Yᵀ c + pull for every row of a chunk, warm-started from `rows`.

    fixed Y: (m, d); rows, diagonal, pull: (n, d); predictions x·y and weights c: (pairs,).
    Returns the rows and their predictions. Preconditioned by the diagonal (Hestenes and Stiefel 1952).
    """
    transposed = fixed.T

    def dots(p: Tensor) -> Tensor:  # p·y of the observed pairs
        sampled: Tensor = torch.sparse.sampled_addmm(chunk.pattern, p, transposed, beta=0.0).values()
        return sampled

    def back(values: Tensor) -> Tensor:  # Σ_i value_ui y_i
        return torch.nn.functional.embedding_bag(
            chunk.columns, fixed, chunk.offsets, mode="sum", per_sample_weights=values, include_last_offset=True
        )

    lengths = chunk.offsets.diff()
    residual = back(weights * (1 - predictions)) - diagonal * rows
    if pull is not None:
        residual += pull
    z = residual / diagonal
    direction, rz = z, (residual * z).sum(1, keepdim=True)
    for _ in range(steps):
        along = dots(direction)
        image = back(weights * along).addcmul_(diagonal, direction)
        # a row that is solved has rz = 0; the clamp keeps 0 / 0 from becoming NaN
        alpha = rz / (direction * image).sum(1, keepdim=True).clamp_(min=1e-30)
        rows = torch.addcmul(rows, alpha, direction)
        predictions = torch.addcmul(predictions, alpha[:, 0].repeat_interleave(lengths), along)
        residual = residual.addcmul(alpha, image, value=-1)
        z = residual / diagonal
        rz, previous = (residual * z).sum(1, keepdim=True), rz
        direction = torch.addcmul(z, rz / previous.clamp(min=1e-30), direction)
    return rows, predictions
