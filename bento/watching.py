"""What is counted of answers, and the access log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute

from models.candidates import Indices

if TYPE_CHECKING:
    from bento.recommender import Recommender

PATHS: dict[str, Any] = {}  # of the OpenAPI document


class Watch:
    """Told of every answer and of every list in it; both calls are on the hot path."""

    def __init__(self, service: Recommender) -> None:
        self.service = service

    def served(self, endpoint: str, items: Indices, fallback: str | None) -> None:
        """A list (k,) of item indices was answered; `fallback` names what stood in for a history, if anything."""

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request was answered; path: as asked, known or not."""


def routes(service: Recommender) -> list[BaseRoute]:
    return []
