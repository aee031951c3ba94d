"""Items with nearly the same text: pairs of vectors with a large cosine, by faiss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

NEAREST = 32  # per row and block: a thousand items with one text are half a million pairs, too many to be useful
BLOCK = 1 << 17  # vectors in the index at once; bounds memory
SWIG: Any = faiss  # its type stubs lack the methods of its Python layer
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def near(vectors: Floats, *, cosine: float, among: Rows) -> Iterator[tuple[Rows, Rows, Floats]]:
    """Yield (i, j, cosine of i and j), each (m,), for rows i of `among` and a block of all rows j of at least `cosine`.

    At most `NEAREST` pairs per row and block are found.
    vectors: unit or zero, (n, t); rows of zeros have no pairs. Each pair comes once, with i < j if both are in `among`.
    """
    chosen = np.zeros(len(vectors), np.bool_)
    chosen[among] = True
    queries = np.ascontiguousarray(vectors[among])
    for start in range(0, len(vectors), BLOCK):
        index = SWIG.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors[start : start + BLOCK]))
        values, found = index.search(queries, min(NEAREST + 1, index.ntotal))  # includes the row itself
        at, place = np.nonzero(values >= cosine)
        i, j = among[at], start + found[at, place]
        once = (i != j) & (~chosen[j] | (i < j))
        yield i[once], j[once], values[at, place][once]
