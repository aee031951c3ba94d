"""The service: recommendations by exactly the item vectors, and the way of making lists, that the gate judged.

Users are folded in from their full history at each request, so the Bento holds histories instead of user vectors.
"""

from typing import Any

import bentoml
import numpy as np
import numpy.typing as npt
from bentoml.exceptions import NotFound

from bento import packed
from bento.index import Index
from bento.limits import BodyLimit
from bento.schemas import Answer, Fallback, ForItems, ForUser, Item, ModelInfo, SimilarTo
from models.candidates import Floats
from models.reranking import none, rerank

# One thread per search: a flat index of this size is faster without waking others, and requests run side by side.
THREADS = [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "OPENBLAS_NUM_THREADS", "value": "1"}]


@bentoml.service(name="longtail", envs=THREADS, traffic={"timeout": 30})
class Longtail:
    @bentoml.on_deployment
    @staticmethod
    def refuse_changed_files() -> None:
        """Runs once before any worker, so that a refused Bento ends the server instead of restarting workers."""
        try:
            packed.verify()
        except (ValueError, OSError) as error:
            raise SystemExit(f"longtail: error: {error}") from None

    def __init__(self) -> None:
        self.release = packed.verify()
        self.tag: str = self.release["tag"]
        self.factors = packed.read_factors()
        self.items = packed.Items.read()
        self.histories = packed.Histories.read()
        self.vectors = self.factors.item_vectors()  # (n_items, d + 1)
        self.how = self.factors.rerank or none(np.zeros(len(self.vectors), np.bool_))
        self.index = Index(self.vectors, self.how.is_tail)
        lengths = np.linalg.norm(self.factors.item_factors, axis=1, keepdims=True)
        self.directions = self.factors.item_factors / np.maximum(lengths, np.finfo(np.float32).tiny)
        self.popular = np.argsort(-self.items.popularity, kind="stable")  # ties by item_idx

    @bentoml.api
    def recommend(self, query: ForUser, /) -> Answer:
        """Items for a user of the training data; an unknown user gets the most popular ones, marked as a fallback."""
        history = self.histories.get(query.user_id)
        if history is None:
            top = self.popular[: query.k]
            return self.answer(top, self.items.popularity[top], fallback="unknown_user")
        return self.answer(*self.search(history, None, history if query.exclude_seen else history[:0], query.k))

    @bentoml.api
    def recommend_for_items(self, query: ForItems, /) -> Answer:
        """Items for somebody with this history, optionally weighted: a new user, or a basket."""
        history = self.find(query.item_ids)
        weights = None if query.weights is None else np.asarray(query.weights, np.float32)
        return self.answer(*self.search(history, weights, history, query.k))

    @bentoml.api
    def similar_items(self, query: SimilarTo, /) -> Answer:
        """Items whose factors point where this item's factor points: cosine similarity, popularity left aside."""
        item = self.find([query.item_id])[0]
        cosine = self.directions @ self.directions[item]  # (n_items,)
        cosine[item] = -np.inf
        top = np.argsort(-cosine, kind="stable")[: min(query.k, len(cosine) - 1)]
        return self.answer(top, cosine[top])

    @bentoml.api
    def model_info(self) -> ModelInfo:
        """Which model answers, why it was promoted, and the digests that lead back to its data, settings and code."""
        about = {key: self.release[key] for key in ("verdict", "reason", "digests", "files", "tail")}
        n_tail = sum(segment != "head" for segment in self.items.segment)
        n_items, n_users = len(self.items.item_id), len(self.histories.row)
        return ModelInfo(model=self.tag, n_items=n_items, n_tail=n_tail, n_users=n_users, **about)

    def search(
        self, history: packed.Indices, weights: Floats | None, seen: packed.Indices, k: int
    ) -> tuple[npt.NDArray[np.int32], Floats]:
        """List of at most k items without `seen`, re-ranked as in evaluation, and their scores."""
        user = self.factors.fold_in([history], None if weights is None else [weights])
        query = self.factors.queries(user)[0]
        found = self.index.candidates(query, seen, k=k)
        items = rerank(self.how, found, self.how.tail_share(history, weights), k=k)[0]
        items = items[items >= 0]
        return items, self.vectors[items] @ query

    def find(self, item_ids: list[str]) -> packed.Indices:
        """Item indices of ids; raises NotFound (404) naming those that the catalogue lacks."""
        unknown = [item_id for item_id in item_ids if item_id not in self.items.index]
        if unknown:
            shown = ", ".join(map(repr, unknown[:10])) + (", …" if len(unknown) > 10 else "")
            raise NotFound(f"{len(unknown)} of {len(item_ids)} items are not in the catalogue of {self.tag}: {shown}")
        return np.asarray([self.items.index[item_id] for item_id in item_ids], np.int32)

    def answer(
        self, items: npt.NDArray[np.integer[Any]], scores: npt.NDArray[np.generic], fallback: Fallback | None = None
    ) -> Answer:
        names = self.items
        found = [
            Item(item_id=names.item_id[i], title=names.title[i], score=score, segment=names.segment[i])
            for i, score in zip(items.tolist(), scores.astype(float).tolist(), strict=True)
        ]
        return Answer(model=self.tag, fallback=fallback, items=found)


# The largest valid request is about 0.3 MB.
Longtail.add_asgi_middleware(BodyLimit, max_bytes=2**20)  # type: ignore[attr-defined]
