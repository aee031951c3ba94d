"""Items whose texts say nearly the same: pairs of vectors of large cosine, by faiss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

NEAREST = 32  # of a row in a block: a thousand items of one text are half a million pairs, which nobody reads
BLOCK = 1 << 17  # vectors in the index at once; bounds memory
SWIG: Any = faiss  # its type stubs lack what its Python layer adds
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def near(vectors: Floats, *, cosine: float, among: Rows) -> Iterator[tuple[Rows, Rows, Floats]]:
    """Yield (i, j, cosine of i and j), each (m,), for rows i of `among` and a block of all rows j of at least `cosine`.

    Of a row's pairs in a block the `NEAREST` are found.
    vectors: unit or zero, (n, t); rows of zeros are near nothing. A pair comes once, i < j where both are in `among`.
    """
    chosen = np.zeros(len(vectors), np.bool_)
    chosen[among] = True
    queries = np.ascontiguousarray(vectors[among])
    for start in range(0, len(vectors), BLOCK):
        index = SWIG.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors[start : start + BLOCK]))
        values, found = index.search(queries, min(NEAREST + 1, index.ntotal))  # itself among them
        at, place = np.nonzero(values >= cosine)
        i, j = among[at], start + found[at, place]
        once = (i != j) & (~chosen[j] | (i < j))
        yield i[once], j[once], values[at, place][once]
