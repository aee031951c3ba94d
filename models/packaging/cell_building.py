"""Cells of a large catalogue: spherical k-means by faiss."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from models.inference.cells import Cells, Floats

PASSES = 8
SAMPLE = 64  # vectors per cell for k-means
SWIG: Any = faiss  # its type stubs lack the methods of its Python layer


def build(vectors: Floats, *, n_cells: int, seed: int) -> Cells:
    """Return cells of vectors (n, d), at most one per vector; a query scans all of them until a share is chosen."""
    lengths = np.linalg.norm(vectors, axis=1)
    directions = np.ascontiguousarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None], np.float32)
    means = SWIG.Kmeans(
        vectors.shape[1], min(n_cells, len(vectors)), niter=PASSES, spherical=True, seed=seed,
        min_points_per_centroid=1, max_points_per_centroid=SAMPLE,
    )  # fmt: skip
    means.train(directions)
    cell = means.index.search(directions, 1)[1][:, 0]
    longest = np.zeros(len(means.centroids), np.float32)
    np.maximum.at(longest, cell, lengths)
    items = np.argsort(cell, kind="stable").astype(np.int32)
    ends = np.cumsum(np.bincount(cell, minlength=len(longest)))
    return Cells(means.centroids * longest[:, None], ends, items, share=1.0)
