"""Dimension reduction by principal components: vectors of a large encoder in fewer numbers.

    z = (v - m) W,  then normalized          W: the leading eigenvectors of the covariance

pca keeps the components' scale, so inner products are preserved up to the dropped components; whiten scales each to
variance one (Su et al. 2021, arXiv:2103.15316), so that rare directions count as much as common ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Method = Literal["pca", "whiten"]
CHUNK = 1 << 14  # vectors at once
MEAN, COMPONENTS = "projection.mean", "projection.components"  # their names beside an encoder's weights
FLAT = 1e-9  # of the largest variance; a direction below it is rounding error


@dataclass(frozen=True)
class Projection:
    mean: Floats  # m, (t,)
    components: Floats  # W, (t, c)
    kept: float = 1.0  # share of the variance

    def __call__(self, vectors: Floats) -> Floats:
        """Return unit vectors (b, c) of vectors (b, t); a zero vector, which marks a missing text, stays zero."""
        turned = np.asarray((vectors - self.mean) @ self.components, np.float32)
        lengths = np.linalg.norm(turned, axis=1, keepdims=True)
        known = vectors.any(axis=1, keepdims=True) & (lengths > 0)
        unit: Floats = np.divide(turned, lengths, out=np.zeros_like(turned), where=known)
        return unit


def fit(vectors: Floats, rows: npt.NDArray[np.integer], *, method: Method, dim: int) -> Projection:
    """Fit the projection onto `dim` components of vectors[rows], read from (n, t) in chunks; zero vectors are ignored.

    Raises ValueError if these vectors span fewer dimensions.
    """
    t = vectors.shape[1]
    n, total, square = 0, np.zeros(t), np.zeros((t, t))
    for start in range(0, len(rows), CHUNK):
        part: Doubles = vectors[rows[start : start + CHUNK]].astype(np.float64)
        part = part[part.any(axis=1)]
        n, total, square = n + len(part), total + part.sum(axis=0), square + part.T @ part
    mean = total / max(n, 1)
    variances, directions = np.linalg.eigh(square / max(n, 1) - np.outer(mean, mean))  # ascending
    variances, directions = variances[::-1], directions[:, ::-1]
    there = int((variances > FLAT * variances[0]).sum()) if n > 1 and variances[0] > 0 else 0
    if dim > there:
        raise ValueError(
            f"embed.reduce.dimensions is {dim}, but the {n} texts of train span {there} directions; set it to less"
        )
    components = directions[:, :dim]
    largest = components[np.abs(components).argmax(axis=0), np.arange(dim)]
    components = components * np.sign(largest)  # fix the arbitrary signs of eigenvectors
    if method == "whiten":
        components = components / np.sqrt(variances[:dim])
    kept = float(variances[:dim].sum() / variances.clip(0).sum())
    return Projection(mean.astype(np.float32), components.astype(np.float32), kept)
