"""Correction of the linear text map by items with similar text.

Kriging (Krige 1951; a Gaussian process on the nearest points only): with residuals r_j of the m nearest items j and the
kernel k(e, e') = exp(-γ |e - e'|²), in units of the root mean square distance of texts from their mean,

    r(e) = Σ_j w_j r_j,    (K + ν I) w = k(e)

so that sequels and near-duplicates inform each other, without counting neighbours twice that resemble each other.
Pure numpy, so that serving needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.integer[Any]]

NEAREST = 50  # m
SHARPNESS = 1.2  # γ
NUGGET = 0.3  # ν, variance of an item's own part of the residual
FEW = 10_000  # texts that are searched exhaustively, in less than a millisecond; of more ...
COARSE, SHORTLIST = 64, 1000  # ... so many directions select a shortlist of so many
CELLS = 2**23  # numbers in the largest array of a batch: 32 MiB


@dataclass(frozen=True)
class Neighbours:
    """Texts of `s` items with known factors."""

    rows: npt.NDArray[np.int32]  # (s,), the items
    vectors: npt.NDArray[np.float16]  # (s, t): centred, in the unit above; half precision suffices for distances
    unit: float

    @classmethod
    def of(cls, rows: Indices, centred: Floats) -> Neighbours:
        """Return the neighbours of items `rows` (s,) with texts (s, t), the mean text subtracted."""
        unit = float(np.sqrt(squares(centred).mean())) or 1.0  # 0 for a single text, or equal ones
        return cls(rows.astype(np.int32), (centred / unit).astype(np.float16), unit)

    @cached_property
    def support(self) -> Floats:
        """Return `vectors` in single precision, for searches."""
        return self.vectors.astype(np.float32)

    @cached_property
    def squares(self) -> Floats:
        """Return |v|² of every text, (s,)."""
        return squares(self.support)

    def centred(self, positions: Indices) -> Floats:
        """Return the texts (m, t) at positions (m,), in their original scale."""
        return self.vectors[positions].astype(np.float32) * np.float32(self.unit)

    def like(self, centred: Floats, *, m: int) -> tuple[npt.NDArray[np.int32], Floats]:
        """Return the m items with texts nearest to one (t,), best first, and k(e, e') relative to the first."""
        text = centred / np.float32(self.unit)
        among = self.promising(text)
        distances = self.squares[among] - 2 * (self.support[among] @ text)  # without |e|²
        nearest = np.argpartition(distances, min(m, len(distances)) - 1)[:m]
        nearest = nearest[np.argsort(distances[nearest], kind="stable")]
        weights = np.exp(-SHARPNESS * (distances[nearest] - distances[nearest[0]]))
        return self.rows[among][nearest], weights

    def promising(self, text: Floats) -> Any:
        """Return positions to compare with a text (t,): all if few, else the nearest in the leading directions."""
        if len(self.rows) <= FEW:
            return slice(None)
        basis, coarse = self.coarse
        rough = self.squares - 2 * (coarse @ (text @ basis))
        return np.sort(np.argpartition(rough, SHORTLIST)[:SHORTLIST])

    @cached_property
    def coarse(self) -> tuple[Floats, Floats]:
        """Return the directions (t, c) of the largest variance, and the texts along them (s, c)."""
        sample = self.support[:: max(1, len(self.support) // FEW)]
        basis = np.linalg.eigh(sample.T @ sample)[1][:, -COARSE:].astype(np.float32)
        return basis, self.support @ basis

    def near(
        self, centred: Floats, apart_from: Indices | None = None
    ) -> Iterator[tuple[slice, npt.NDArray[np.int64], Floats]]:
        """Yield batches of texts (n, t), with the positions (b, m) of each one's nearest neighbours and weights (b, m).

        apart_from: (n,) an item to exclude, such as the text's own item.
        """
        support = self.support
        batch = max(1, CELLS // max(len(support), NEAREST * support.shape[1]))
        for start in range(0, len(centred), batch):
            part = slice(start, start + batch)
            forbidden = None if apart_from is None else self.rows == apart_from[part, None]
            yield part, *krige(centred[part] / np.float32(self.unit), support, forbidden, self.squares)


def krige(
    vectors: Floats, support: Floats, forbidden: npt.NDArray[np.bool_] | None, lengths: Floats | None = None
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return positions (b, m) of the points of the support (s, t) nearest to vectors (b, t), and weights (b, m).

    forbidden: (b, s), points without weight; lengths: (s,), |v|² of the support, if known.
    """
    lengths = squares(support) if lengths is None else lengths
    distances = squares(vectors)[:, None] + lengths - 2 * (vectors @ support.T)  # (b, s)
    if forbidden is not None:
        distances[forbidden] = np.inf
    m = min(NEAREST, len(support))
    nearest = np.sort(np.argpartition(distances, m - 1, axis=1)[:, :m], axis=1)  # in one order for equal texts
    kernel = np.exp(-SHARPNESS * np.take_along_axis(distances, nearest, axis=1))
    found = support[nearest]  # (b, m, t)
    sizes = squares(found)
    between = sizes[:, :, None] + sizes[:, None, :] - 2 * (found @ found.transpose(0, 2, 1))
    system = np.exp(-SHARPNESS * np.maximum(between, 0)) + NUGGET * np.eye(m, dtype=np.float32)
    present = kernel > 0  # forbidden or distant points must not change the other weights
    system = np.where(present[:, :, None] & present[:, None, :] | np.eye(m, dtype=np.bool_), system, 0)
    weights: Floats = np.linalg.solve(system, kernel[:, :, None])[:, :, 0].astype(np.float32)
    return nearest, weights


def squares(vectors: Floats) -> Floats:
    """Return |v|² of every vector, (..., t) -> (...)."""
    lengths: Floats = np.einsum("...t,...t->...", vectors, vectors)
    return lengths
