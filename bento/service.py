"""The service: recommendations by exactly the item vectors, and the way of making lists, that the gate judged.

Users are folded in from their full history at each request, so the Bento holds histories instead of user vectors.
Over HTTP `bento.front` answers these endpoints itself; here they are what BentoML documents and calls in Python.
"""

import bentoml

from bento import hot, packed
from bento.front import Server
from bento.recommender import Recommender
from bento.schemas import (
    Answer,
    Answers,
    Explanation,
    ForItems,
    ForText,
    ForUser,
    ForUsers,
    ModelInfo,
    SimilarTo,
    TextAnswer,
    Why,
)

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

    @bentoml.api
    def recommend(self, query: ForUser, /) -> Answer:
        """Items for a user of the training data; an unknown user gets the most popular ones, marked as a fallback."""
        return Answer.model_validate_json(hot.recommend(self, query))

    @bentoml.api
    def recommend_batch(self, query: ForUsers, /) -> Answers:
        """Items for each of up to 1,000 users: the same lists as one by one, for less."""
        return Answers.model_validate_json(hot.recommend_batch(self, query))

    @bentoml.api
    def recommend_for_items(self, query: ForItems, /) -> Answer:
        """Items for somebody with this history, optionally weighted: a new user, or a basket."""
        return Answer.model_validate_json(hot.recommend_for_items(self, query))

    @bentoml.api
    def recommend_for_text(self, query: ForText, /) -> TextAnswer:
        """Items for a wish in words: what people like who like what is described that way, named in `like`."""
        return TextAnswer.model_validate_json(hot.recommend_for_text(self, query))

    @bentoml.api
    def similar_items(self, query: SimilarTo, /) -> Answer:
        """Items whose factors point where this item's factor points: cosine similarity, popularity left aside."""
        return Answer.model_validate_json(hot.similar_items(self, query))

    @bentoml.api
    def explain(self, query: Why, /) -> Explanation:
        """Why an item is recommended: its score, taken apart exactly."""
        return Explanation.model_validate_json(hot.explain(self, query))

    @bentoml.api
    def model_info(self) -> ModelInfo:
        """Which model answers, why it was promoted, and the digests that lead back to its data, settings and code."""
        return ModelInfo.model_validate_json(hot.model_info(self))
