"""Events that clients report: impressions, clicks, likes, purchases; acknowledged once they are durable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute

if TYPE_CHECKING:
    from bento.recommender import Recommender

PATHS: dict[str, Any] = {}  # of the OpenAPI document


def routes(service: Recommender) -> list[BaseRoute]:
    return []
