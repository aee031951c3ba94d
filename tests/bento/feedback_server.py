"""The feedback route alone, as `python -m tests.bento.feedback_server FD` serves it on an open socket."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from bento.feedback import endpoint
from bento.model.recommender import NOTHING, Recommender


@dataclass
class Items:
    index: dict[str, int] = field(default_factory=lambda: {f"i{n}": n for n in range(10)})


@dataclass
class Watch:
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    more: list[Callable[[], Any]] = field(default_factory=list)


@dataclass
class Service:
    """The attributes of the service that the route uses, with a catalogue of ten items."""

    tag: str = "longtail:test"
    items: Items = field(default_factory=Items)
    recent: Callable[[str], Any] = lambda user_id: NOTHING
    watch: Watch = field(default_factory=Watch)


def app(service: Service) -> Starlette:
    return Starlette(routes=endpoint.routes(cast(Recommender, service)))


if __name__ == "__main__":
    uvicorn.Server(uvicorn.Config(app(Service()), log_level="error")).run([socket.socket(fileno=int(sys.argv[1]))])
