"""The service: recommendations by exactly the item vectors, and the way of making lists, that the gate judged.

Users are folded in from their full history at each request, so the Bento holds histories instead of user vectors.
"""

from typing import Any

import bentoml
import numpy as np
import numpy.typing as npt
from bentoml.exceptions import NotFound

from bento import packed
from bento.front import Server
from bento.limits import BodyLimit
from bento.recommender import Recommender
from bento.schemas import Answer, Fallback, ForItems, ForUser, Item, ModelInfo, SimilarTo

# One thread per search: a flat index of this size is faster without waking others, and requests run side by side.
THREADS = [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "OPENBLAS_NUM_THREADS", "value": "1"}]


@bentoml.service(
    name="longtail",
    envs=THREADS,
    traffic={"timeout": 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},  # `bento.watching` does both
    service_class=Server,
)
class Longtail(Recommender):
    @bentoml.on_deployment
    @staticmethod
    def refuse_changed_files() -> None:
        """Runs once before any worker, so that a refused Bento ends the server instead of restarting workers."""
        try:
            packed.verify()
        except (ValueError, OSError) as error:
            raise SystemExit(f"longtail: error: {error}") from None

    def __init__(self) -> None:
        super().__init__()
        lengths = np.linalg.norm(self.factors.item_factors, axis=1, keepdims=True)
        self.directions = self.factors.item_factors / np.maximum(lengths, np.finfo(np.float32).tiny)

    @bentoml.api
    def recommend(self, query: ForUser, /) -> Answer:
        """Items for a user of the training data; an unknown user gets the most popular ones, marked as a fallback."""
        history = self.history(query.user_id)
        if history is None:
            top = self.popular[: query.k]
            return self.answer(top, self.items.popularity[top], fallback="unknown_user")
        return self.answer(*self.recommend_list(history, None, history if query.exclude_seen else history[:0], query.k))

    @bentoml.api
    def recommend_for_items(self, query: ForItems, /) -> Answer:
        """Items for somebody with this history, optionally weighted: a new user, or a basket."""
        history = self.find(query.item_ids)
        weights = None if query.weights is None else np.asarray(query.weights, np.float32)
        return self.answer(*self.recommend_list(history, weights, history, query.k))

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
