"""The service: it recommends with exactly the item vectors and the re-ranking that the gate judged.

Users are folded in from their full history at each request, so the Bento holds histories instead of user vectors.
Over HTTP `bento.asgi.app` answers these endpoints itself; BentoML documents the methods here, and calls them in Python.
"""

import bentoml

from bento.api import endpoints
from bento.api.schemas import (
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
from bento.asgi.app import Server
from bento.asgi.request_guard import Guard
from bento.model import files
from bento.model.recommender import Recommender

# One thread per search: a flat index of this size is faster on one thread, and requests run in parallel.
THREADS = [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "OPENBLAS_NUM_THREADS", "value": "1"}]


@bentoml.service(
    name="longtail",
    envs=THREADS,
    traffic={"timeout": 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},  # `bento.monitoring.telemetry` does both
    service_class=Server,
)
class Longtail(Recommender):
    @bentoml.on_deployment
    @staticmethod
    def check() -> None:
        """Check settings and files once before any worker starts: a failing worker would be restarted in a loop."""
        try:
            Guard.from_environment()
            files.verify()
        except (ValueError, OSError) as error:
            raise SystemExit(f"longtail: error: {error}") from None

    def __init__(self) -> None:
        super().__init__()

    @bentoml.api
    def recommend(self, query: ForUser, /) -> Answer:
        """Recommend items to a user; an unknown user gets the most popular ones, marked as a fallback."""
        return Answer.model_validate_json(endpoints.recommend(self, query))

    @bentoml.api
    def recommend_batch(self, query: ForUsers, /) -> Answers:
        """Recommend items to up to 1,000 users: the same lists as with one request per user, in less time."""
        return Answers.model_validate_json(endpoints.recommend_batch(self, query))

    @bentoml.api
    def recommend_for_items(self, query: ForItems, /) -> Answer:
        """Recommend items for a history, optionally weighted: of a new user, or a basket."""
        return Answer.model_validate_json(endpoints.recommend_for_items(self, query))

    @bentoml.api
    def recommend_for_text(self, query: ForText, /) -> TextAnswer:
        """Recommend items for a free-text query, by the items whose descriptions match it best."""
        return TextAnswer.model_validate_json(endpoints.recommend_for_text(self, query))

    @bentoml.api
    def similar_items(self, query: SimilarTo, /) -> Answer:
        """Return the items whose factors have the largest cosine similarity, whatever their popularity."""
        return Answer.model_validate_json(endpoints.similar_items(self, query))

    @bentoml.api
    def explain(self, query: Why, /) -> Explanation:
        """Explain why an item is recommended: its score as an exact sum."""
        return Explanation.model_validate_json(endpoints.explain(self, query))

    @bentoml.api
    def model_info(self) -> ModelInfo:
        """Return the model that answers, its verdict, and the digests that lead back to its data, settings and code."""
        return ModelInfo.model_validate_json(endpoints.model_info(self))
