"""Exact search by faiss for what a list is made of: the best items of the catalogue, and the best ones of the tail."""

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from models import candidates
from models.candidates import Bools, Candidates, Floats, Indices

SWIG: Any = faiss  # its type stubs lack what its Python layer adds


class Index:
    """Item vectors of which some are tail; scores are inner products."""

    def __init__(self, vectors: Floats, is_tail: Bools) -> None:
        """vectors: (n_items, d); is_tail: (n_items,)."""
        self.flat = SWIG.IndexFlatIP(vectors.shape[1])
        self.flat.add(np.ascontiguousarray(vectors, np.float32))
        self.tail = SWIG.IDSelectorBitmap(np.packbits(is_tail, bitorder="little"))

    def candidates(self, query: Floats, seen: Indices, *, k: int) -> Candidates:
        """What `candidates.of_scores` finds for a list of k: of equal scores at the last place any may stand."""
        unseen = SWIG.IDSelectorNot(SWIG.IDSelectorBatch(seen.astype(np.int64)))
        best = self.search(query, max(candidates.OVERALL, k), unseen)
        return candidates.join(*best, *self.search(query, candidates.TAIL, SWIG.IDSelectorAnd(self.tail, unseen)))

    def search(self, query: Floats, k: int, allowed: Any) -> tuple[npt.NDArray[np.int64], Floats]:
        """Items and scores (1, k), best first, ties in order of the item; ended by -1 and -inf."""
        scores, items = self.flat.search(query[None], k, params=SWIG.SearchParameters(sel=allowed))
        scores[items < 0] = -np.inf
        order = np.lexsort((items[0], -scores[0]))
        return items[:, order], scores[:, order]
