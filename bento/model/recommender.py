"""The served model without HTTP: it makes the lists that the gate judged, and looks up items and histories.

The rest of the service builds on its attributes:

    tag         name:version of the Bento, part of every answer
    version     its version in the registry, such as v1.0.0; None if the Bento runs without `longtail serve`
    release     content of release.json: verdict, reason, digests, figures, files, tail
    items       item_id, title, segment, popularity, decile by item_idx; `items.index` gives the item_idx of an id
    histories   `get(user_id)`: all item_idx that a user of the training data interacted with, or None
    recent      (user_id) -> item_idx (m,) of later events; `bento.feedback.endpoint` replaces it and the next two
    ahead       (user_ids): awaited before `recent` is called for these users, so that `recent` does not block
    impaired    () -> the present problem of a service that still recommends, or None
    watch       counts every list that is served (`bento.monitoring.telemetry`)
    closing     functions to call, in order, before the server ends
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bento.model import files
from bento.model.encoder import Encoder
from bento.model.index import Index
from bento.monitoring.telemetry import Watch
from models.inference import explanation
from models.inference.candidates import Candidates, Floats, Indices
from models.inference.reranking import none, preferring, rerank

NOTHING = np.zeros(0, np.int32)
HEAVY = 100  # items of a heavy user's history
LIKE = 10  # items nearest to a free-text query; they serve as its history
Where = Mapping[str, Any]  # column: value or values


class UnknownError(LookupError):
    """An item or user unknown to this model; the message names it."""


class RefusedError(ValueError):
    """A well-formed request that this model cannot answer; the message names the remedy."""


class Recommender:
    def __init__(self, root: Path = files.ROOT) -> None:
        self.release = files.verify(root)
        self.tag: str = self.release["tag"]
        self.version = os.environ.get("LONGTAIL_VERSION") or None
        self.factors = files.read_factors(root)
        self.items = files.Items.read(root)
        self.histories = files.Histories.read(root)
        self.encoder = Encoder(self.release["encoder"], root) if "pooling" in self.release["encoder"] else None
        self.recent: Callable[[str], Indices] = lambda user_id: NOTHING
        self.ahead: Callable[[Sequence[str]], Awaitable[None]] = nothing_ahead
        self.impaired: Callable[[], str | None] = lambda: None
        self.closing: list[Callable[[], None]] = []
        self.how = self.factors.rerank or none(np.zeros(len(self.items.item_id), np.bool_))
        self.preferring = preferring(self.factors.popularity_bias, self.how.is_tail)
        self.index = Index(self.factors, self.how.is_tail, files.read_cells(root))
        self.lengths = np.maximum(np.linalg.norm(self.factors.item_factors, axis=1), np.finfo(np.float32).tiny)
        self.popular = np.argsort(-self.items.popularity, kind="stable")  # ties by item_idx
        self.watch = Watch(self.tag, self.release, self.items.segment, version=self.version)

    def recommend_list(
        self, history: Indices, weights: Floats | None, seen: Indices, k: int,
        *, tail: float | None = None, where: Where | None = None,
    ) -> tuple[Indices, Floats]:  # fmt: skip
        """Return at most k items without `seen`, re-ranked as in evaluation, and their scores.

        history, weights: items (h,) and their weights, None for 1 each; tail: tail emphasis from 0 to 1 instead of
        the released setting; where: values that columns of the items must have.
        """
        user = self.factors.fold_in([history], None if weights is None else [weights])
        bonus = float(self.factors.cold_bonus(user)[0])
        if where:
            found = self.index.candidates_of(self.holding(where), user[0], bonus, seen, k=k)
        else:
            found = self.index.candidates(user[0], bonus, seen, k=k)
        items = self.listed(found, self.how.tail_share(history, weights), k, tail)[0]
        items = items[items >= 0]
        return items, self.index.scores(items, user[0], bonus)

    def recommend_lists(
        self, histories: Sequence[Indices], seen: Sequence[Indices], k: int,
        *, tail: float | None = None, where: Where | None = None,
    ) -> list[tuple[Indices, Floats]]:  # fmt: skip
        """Return the lists of `recommend_list` for many users at once."""
        if not histories:
            return []
        users = self.factors.fold_in(histories)
        bonuses = self.factors.cold_bonus(users)
        if where:
            rows = self.holding(where)
            found = [
                self.index.candidates_of(rows, user, bonus, hidden, k=k)
                for user, bonus, hidden in zip(users, bonuses, seen, strict=True)
            ]
        else:
            found = self.index.batch(users, bonuses, seen, k=k)
        shares = np.concatenate([self.how.tail_share(history) for history in histories])
        lists = self.listed(joined(found), shares, k, tail)
        listed = [items[items >= 0] for items in lists]
        return [(i, self.index.scores(i, u, float(b))) for i, u, b in zip(listed, users, bonuses, strict=True)]

    def listed(self, found: Candidates, shares: Floats, k: int, tail: float | None) -> Indices:
        """Return lists (b, k) of candidates (b, c), re-ranked as released or by `tail`; -1 fills short lists."""
        if tail is None:
            return rerank(self.how, found, shares, k=k)
        return rerank(self.preferring, found, np.full(len(shares), tail, np.float32), k=k)

    def history(self, user_id: str) -> Indices | None:
        """Return the items (h,) of all interactions of a user until now; None for an unknown user."""
        known, recent = self.histories.get(user_id), self.recent(user_id)
        if len(recent) == 0:
            return known
        return np.union1d(NOTHING if known is None else known, recent).astype(np.int32)

    def most_popular(self, k: int, where: Where | None = None) -> Indices:
        """Return the k items with the most training users, ties in order of the item index."""
        if not where:
            return self.popular[:k]
        rows = self.holding(where)
        return rows[np.argsort(-self.items.popularity[rows], kind="stable")[:k]]

    def like(self, text: str) -> tuple[Indices, Floats]:
        """Return the items (m,) with the descriptions nearest to a text, and their weights: they serve as a history.

        Raises RefusedError if the model has no text encoder, or the text contains no words.
        """
        neighbours = self.factors.neighbours
        if self.encoder is None or neighbours is None:
            raise RefusedError(f"{self.tag} has no text encoder: {self.release['encoder']['reason']}")
        vector = self.encoder(text)
        if vector is None:
            raise RefusedError("`text` contains no words")
        return neighbours.like(vector - self.factors.text_mean, m=LIKE)

    def similar(self, item: int, k: int) -> tuple[Indices, Floats]:
        """Return the k items whose factors have the largest cosine similarity, and the cosines."""
        factors = self.factors.item_factors
        cosines = (factors @ factors[item]) / (self.lengths * self.lengths[item])  # (n_items,)
        cosines[item] = -np.inf
        k = min(k, len(cosines) - 1)
        top = np.argpartition(-cosines, k - 1)[:k] if k else NOTHING
        top = top[np.lexsort((top, -cosines[top]))]
        return top, cosines[top]

    def reasons(self, history: Indices, weights: Floats | None, item: int) -> explanation.Explanation:
        """Return the score of an item for a history (h,), split into its summands."""
        return explanation.explain(self.factors, history, item, weights=weights, embedding=self.embedding(item))

    def embedding(self, item: int) -> Floats | None:
        """Return the text vector (t,) of an item; None if the model does not keep it."""
        neighbours = self.factors.neighbours
        if neighbours is None:
            return None
        position = np.flatnonzero(neighbours.rows == item)
        return neighbours.centred(position)[0] + self.factors.text_mean if len(position) else None

    def holding(self, where: Where) -> Indices:
        """Return the items (m,) that match all columns of `where`; raises RefusedError for an unknown column."""
        found: Indices | None = None
        for name, asked in where.items():
            if name not in self.items.columns:
                there = ", ".join(self.items.columns)
                raise RefusedError(f"items have no column {name[:50]!r} to filter by; expected one of: {there}")
            values = asked if isinstance(asked, list | tuple) else [asked]
            rows = self.items.columns[name].holding([written(value) for value in values])
            found = rows if found is None else np.intersect1d(found, rows, assume_unique=True)
        return NOTHING if found is None else found

    def seconds_per_search(self) -> float:
        """Return the seconds that a list for the longest history takes, the best of three."""
        lengths = np.diff(self.histories.offsets)
        longest = int(lengths.argmax()) if len(lengths) else 0
        history = self.histories.item_idx[self.histories.offsets[longest] : self.histories.offsets[longest + 1]]
        times = []
        for _ in range(3):
            started = perf_counter()
            self.recommend_list(history[:HEAVY], None, history, 10)
            times.append(perf_counter() - started)
        return min(times)

    def find(self, item_ids: Sequence[str]) -> Indices:
        """Return the item indices of ids; raises UnknownError naming ids that are not in the catalogue."""
        index = self.items.index
        found = [index.get(item_id, -1) for item_id in item_ids]
        if unknown := [item_id for item_id, i in zip(item_ids, found, strict=True) if i < 0]:
            shown = ", ".join(map(repr, unknown[:10])) + (", …" if len(unknown) > 10 else "")
            raise UnknownError(
                f"{len(unknown)} of {len(item_ids)} items are not in the catalogue of {self.tag}: {shown}"
            )
        return np.asarray(found, np.int32)


async def nothing_ahead(user_ids: Sequence[str]) -> None:
    """Do nothing: without feedback there are no events to wait for."""


def written(value: str | int | bool) -> str:
    """Return a value in the spelling of the Bento's columns."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def joined(found: Sequence[Candidates]) -> Candidates:
    """Stack the candidates of many users, padding the shorter rows."""
    width = max(each.items.shape[1] for each in found)
    items = np.full((len(found), width), -1, np.int64)
    relevance = np.full((len(found), width), -np.inf, np.float32)
    for row, each in enumerate(found):
        items[row, : each.items.shape[1]], relevance[row, : each.items.shape[1]] = each.items[0], each.relevance[0]
    return Candidates(items, relevance)
