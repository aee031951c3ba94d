"""Items whose texts say nearly the same: pairs of vectors of large cosine, by faiss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

BLOCK = 1 << 17  # vectors in the index at once; bounds memory
SWIG: Any = faiss  # its type stubs lack what its Python layer adds
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def near(vectors: Floats, *, cosine: float, among: Rows) -> Iterator[tuple[Rows, Rows, Floats]]:
    """Yield (i, j, cosine of i and j), each (m,), for rows i of `among` and a block of all rows j of at least `cosine`.

    vectors: unit or zero, (n, t); rows of zeros are near nothing. A pair comes once, i < j where both are in `among`.
    """
    chosen = np.zeros(len(vectors), np.bool_)
    chosen[among] = True
    queries = np.ascontiguousarray(vectors[among])
    for start in range(0, len(vectors), BLOCK):
        index = SWIG.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors[start : start + BLOCK]))
        limits, values, found = index.range_search(queries, float(np.nextafter(np.float32(cosine), np.float32(0))))
        i, j = np.repeat(among, np.diff(limits.astype(np.int64))), start + found
        once = (i != j) & (~chosen[j] | (i < j))
        yield i[once], j[once], values[once]
