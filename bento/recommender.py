"""What a served model can do, apart from HTTP: the lists that the gate judged, and what is known of items and users.

The rest of the service builds on its attributes:

    tag         name:version of the Bento, which every answer names
    release     what release.json says: verdict, reason, digests, files, tail
    items       item_id, title, segment, popularity by item_idx; `items.index` gives the item_idx of an id
    histories   `get(user_id)`: all item_idx that a user of the training data has touched, or None
    recent      (user_id) -> item_idx (m,) touched since; `bento.feedback` replaces it
    watch       is told of every list that is served (`bento.watching`)
    closing     functions to be called, in order, before the server ends
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bento import packed
from bento.index import Index
from bento.watching import Watch
from models.candidates import Floats, Indices
from models.reranking import none, rerank

NOTHING = np.zeros(0, np.int32)
Where = Mapping[str, Any]  # column: value or values


class Recommender:
    def __init__(self, root: Path = packed.ROOT) -> None:
        self.release = packed.verify(root)
        self.tag: str = self.release["tag"]
        self.factors = packed.read_factors(root)
        self.items = packed.Items.read(root)
        self.histories = packed.Histories.read(root)
        self.recent: Callable[[str], Indices] = lambda user_id: NOTHING
        self.closing: list[Callable[[], None]] = []
        self.vectors = self.factors.item_vectors()  # (n_items, d + 1)
        self.how = self.factors.rerank or none(np.zeros(len(self.vectors), np.bool_))
        self.index = Index(self.vectors, self.how.is_tail)
        self.popular = np.argsort(-self.items.popularity, kind="stable")  # ties by item_idx
        self.watch = Watch(self)

    def recommend_list(
        self, history: Indices, weights: Floats | None, seen: Indices, k: int,
        *, tail: float | None = None, where: Where | None = None,
    ) -> tuple[Indices, Floats]:  # fmt: skip
        """At most k items without `seen`, re-ranked as in evaluation, and their scores.

        history, weights: (h,), items and how much each counts, None for 1; tail: how much of it the person wants,
        from 0 to 1, instead of what is judged; where: what columns of the items must hold.
        """
        user = self.factors.fold_in([history], None if weights is None else [weights])
        query = self.factors.queries(user)[0]
        found = self.index.candidates(query, seen, k=k)
        items = rerank(self.how, found, self.how.tail_share(history, weights), k=k)[0]
        items = items[items >= 0]
        return items, self.vectors[items] @ query

    def history(self, user_id: str) -> Indices | None:
        """All that a user has touched, until now (h,); None for somebody nobody knows."""
        known, recent = self.histories.get(user_id), self.recent(user_id)
        if len(recent) == 0:
            return known
        return np.union1d(NOTHING if known is None else known, recent).astype(np.int32)
