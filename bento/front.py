"""What a request meets first: pages and routes of ours, then BentoML's application behind them.

BentoML's own stack costs more than the search does, so what has to be fast is answered before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import bentoml
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento import explorer, feedback, hot, watching

MODULES = (hot, explorer, feedback, watching)


class Server(bentoml.Service):  # type: ignore[misc]
    """A BentoML service with a front."""

    def to_asgi(self, is_main: bool = True) -> Any:
        return Front(super().to_asgi(is_main))


class Front:
    """Routes of MODULES before those of `app`; BentoML's page about the endpoints is at /docs."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.routes: list[BaseRoute] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, self.following(send))
        elif scope["type"] == "http":
            await self.answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def following(self, send: Send) -> Send:
        """`send` of the lifespan, that prepares once the service is there, and closes before it goes."""

        async def follow(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.service = bentoml.get_current_service()
                self.routes = [route for module in MODULES for route in module.routes(self.service)]
            elif message["type"] == "lifespan.shutdown.complete":
                for close in self.service.closing:
                    close()
            await send(message)

        return follow

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.find(scope)(scope, receive, noting)
        finally:
            self.service.watch.answered(scope["method"], scope["path"], status, perf_counter() - started)

    def find(self, scope: Scope) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The application that answers a request: the first route of ours that matches, else BentoML."""
        if scope["path"] == "/docs":
            scope["path"] = "/"
            return self.app
        for route in self.routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope.update(child)
                return route.handle
        return self.app
