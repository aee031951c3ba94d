"""Items whose texts say nearly the same: pairs of vectors of large cosine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

CELLS = 1 << 24  # cosines at once; bounds memory
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def near(vectors: Floats, *, cosine: float, among: Rows) -> Iterator[tuple[Rows, Rows, Floats]]:
    """Yield (i, j, cosine of i and j), each (m,), for a block of rows i of `among` and all rows j of at least `cosine`.

    vectors: unit or zero, (n, t); rows of zeros are near nothing. A pair comes once, i < j where both are in `among`.
    """
    chosen = np.zeros(len(vectors), np.bool_)
    chosen[among] = True
    block = max(1, CELLS // max(len(vectors), 1))
    for start in range(0, len(among), block):
        rows = among[start : start + block]
        scores = vectors[rows] @ vectors.T  # (b, n)
        at, other = np.nonzero(scores >= cosine)
        i = rows[at]
        once = (i != other) & (~chosen[other] | (i < other))
        yield i[once], other[once], scores[at[once], other[once]]
