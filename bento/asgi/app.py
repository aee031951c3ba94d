"""The ASGI application: the guard, then Longtail's endpoints and pages, then BentoML's application.

BentoML's own stack costs more time than the search, so the endpoints are answered before it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from time import perf_counter
from typing import Any

import bentoml
from pydantic import ValidationError
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento.api import examples, exposure, openapi
from bento.api.endpoints import ENDPOINTS, Endpoint
from bento.asgi import connections
from bento.asgi.answers import CLOSE, FAILED, RETRY, closing, instead, refuse, reply, respond, wrong_method
from bento.asgi.origins import SAFE
from bento.asgi.request_guard import MAX_BODY, NOT_JSON, Guard, Headers, is_json
from bento.feedback import endpoint as feedback_endpoint
from bento.model.recommender import Recommender, nothing_ahead
from bento.monitoring import telemetry
from bento.pages import card, docs, explorer

MODULES = (explorer, feedback_endpoint, exposure, card, docs)
READY = ("/readyz", "/readyz/feedback")
# answered for any host, without a key and under any load: probes have neither name nor key
OPEN = ("/livez", *READY, "/healthz")
LONG = 0.005  # seconds; a slower search runs in a thread, a faster one saves the switch
LOGGER = logging.getLogger("longtail.serve")
WRONG_SETTINGS = 78  # exit status, EX_CONFIG of sysexits.h: a restart cannot help
# no page of another site can embed an answer, or load it as a script or style
SHELTERED = [(b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin")]


class Server(bentoml.Service):  # type: ignore[misc]
    """A BentoML service with `Front` before its application."""

    def to_asgi(self, is_main: bool = True) -> Any:
        """Return the application; raises SystemExit, with one line instead of tracebacks, if a setting is wrong."""
        try:
            guard = Guard.from_environment()
        except ValueError as error:
            print(f"longtail: error: {error}", file=sys.stderr, flush=True)
            raise SystemExit(WRONG_SETTINGS) from None
        connections.install(guard)
        return Front(super().to_asgi(is_main), guard)


class Front:
    """ASGI application that answers endpoints and routes of MODULES, and leaves the rest to `app`."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self.app, self.guard = app, guard
        self.endpoints: Mapping[str, Endpoint] = {f"/{name}": endpoint for name, endpoint in ENDPOINTS.items()}
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="search")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, self.following(send))
        elif scope["type"] != "http":
            await send({"type": "websocket.close"})  # before it was accepted: the server answers 403
        elif scope["path"] in READY and scope["method"] not in ("GET", "HEAD"):
            await wrong_method(send, scope["path"], "GET", "HEAD")
        elif scope["path"] in READY:
            await self.ready(scope, send)
        elif scope["path"] in OPEN:
            await self.app(scope, receive, send)
        else:
            await self.watched(scope, receive, send)

    def following(self, send: Send) -> Send:
        """Return a `send` for the lifespan that prepares after the service's startup, and closes at its shutdown."""

        async def follow(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.prepare(bentoml.get_current_service())
                self.orphaned = asyncio.create_task(end_with(os.getppid()))
            elif message["type"] == "lifespan.shutdown.complete":
                for close in self.service.closing:
                    close()
            await send(message)

        return follow

    def prepare(self, service: Recommender) -> None:
        self.service = service
        shown = examples.of(service)  # before feedback begins, whose store may be slow
        connections.Connection.note = service.watch.cut
        service.watch.more.append(connections.gauges)
        self.routes: list[BaseRoute] = [route for module in MODULES for route in module.routes(service)]
        self.is_long = service.seconds_per_search() > LONG
        for warning in self.guard.warnings():
            LOGGER.warning(warning)
        document = openapi.document(service, [module.PATHS for module in MODULES], shown)
        self.routes.append(Route("/docs.json", lambda request: Response(document, media_type="application/json")))
        routed = [route.path for route in self.routes if isinstance(route, Route)]
        service.watch.label = telemetry.labels([*self.endpoints, *OPEN, *routed])
        gc.collect()
        gc.freeze()  # all of this is permanent: garbage collection while requests wait shall not traverse it

    async def ready(self, scope: Scope, send: Send) -> None:
        """Report if the service can recommend, and if feedback works; recommending does not depend on feedback.

        503 while the server drains; /readyz/feedback also while feedback does not work. Only authorized
        callers see model and reason.
        """
        reason, drains = self.service.impaired(), bool(scope.get("state", {}).get("draining"))
        body = {"status": "draining" if drains else "ready", "feedback": "ok" if reason is None else "degraded"}
        if self.guard.refusal(scope, dict(scope["headers"])) is None:
            body |= {"model": self.service.tag} | ({} if reason is None else {"reason": reason})
        failed = drains or (reason is not None and scope["path"] == READY[1])
        await reply(send, 503 if failed else 200, json.dumps(body).encode())

    async def watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = perf_counter(), 500
        telemetry.note(scope)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *SHELTERED, *self.guard.origins.answer_to(scope)]
            await send(message)

        try:
            await self.guarded(scope, receive, noting)
        finally:
            self.service.watch.answered(scope["method"], scope["path"], status, perf_counter() - started)

    async def guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        guard, headers = self.guard, dict(scope["headers"])
        if (refusal := guard.refusal(scope, headers)) is not None:
            await instead(send, refusal, *closing(headers))
            return
        try:
            body = await guard.body(headers, receive)
        except OverflowError:
            await refuse(send, 413, f"the body is too long, expected at most {MAX_BODY} bytes", CLOSE)
            return
        except TimeoutError:
            await refuse(send, 408, f"the request took longer than {guard.patience:g} s to arrive", CLOSE)
            return
        except BufferError:
            await refuse(send, 503, "too many large requests at a time; try again", CLOSE, RETRY)
            return
        except ConnectionError:
            return  # the client has disconnected
        counts = (
            scope["path"] != feedback_endpoint.PATH
        )  # feedback has its own limit, so that a slow store does not use up this one
        guard.active += counts
        try:
            await asyncio.sleep(0)  # let requests that arrived meanwhile be counted before the search starts
            if counts and guard.active > guard.concurrency:
                await refuse(
                    send, 503, f"too many concurrent requests, expected at most {guard.concurrency}; try again", RETRY
                )
            elif (endpoint := self.endpoints.get(scope["path"])) is not None:
                await self.endpoint(endpoint, scope, headers, body, send)
            else:
                await self.in_time(scope, body, receive, send)
        except TimeoutError:
            await refuse(send, 503, f"no answer within {guard.timeout:g} s; try again", RETRY)
        finally:
            guard.active -= counts

    async def in_time(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer by a route or by BentoML within `timeout`; the server closes the connection of an aborted answer."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self.guard.timeout):
                await self.behind(scope, body, receive, noting)
        except TimeoutError:
            if not begun:
                raise
            LOGGER.warning("an unfinished answer was aborted after %g s", self.guard.timeout)
        except Exception:
            LOGGER.exception("an answer failed")
            if not begun:
                await refuse(send, 500, FAILED)

    async def behind(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        app, allowed = self.app, set[str]()
        for route in self.routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope.update(child)
                app = route.handle
                break
            if match is Match.PARTIAL and isinstance(route, Route):
                allowed |= route.methods or set()
        if app is self.app and allowed:
            await wrong_method(send, scope["path"], *sorted(allowed))
        elif scope["method"] not in SAFE and not is_json(dict(scope["headers"]).get(b"content-type", b"")):
            await instead(send, NOT_JSON)
        else:
            await app(scope, replaying(body, receive), send)

    async def endpoint(self, endpoint: Endpoint, scope: Scope, headers: Headers, body: bytes, send: Send) -> None:
        kind = headers.get(b"content-type", b"")
        if scope["method"] != "POST":
            await wrong_method(send, scope["path"], "POST")
        elif not is_json(kind) and (kind or endpoint.takes):
            await instead(send, NOT_JSON)
        else:
            await self.ahead(endpoint, body)
            if endpoint.long or self.is_long:
                loop, run = asyncio.get_running_loop(), copy_context().run
                async with asyncio.timeout(self.guard.timeout):
                    answer = loop.run_in_executor(self.threads, run, respond, endpoint, self.service, body)
                    status, content = await answer
            else:
                status, content = respond(endpoint, self.service, body)
            await reply(send, status, content)

    async def ahead(self, endpoint: Endpoint, body: bytes) -> None:
        """Wait briefly, without blocking the event loop, for new events of the users of a request."""
        if endpoint.users is not None and endpoint.takes is not None and self.service.ahead is not nothing_ahead:
            with suppress(ValidationError):  # the answer reports it
                await self.service.ahead(endpoint.users(endpoint.takes.model_validate_json(body)))


def replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that repeats the body that was read, then passes on further messages."""
    first = True

    async def replay() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


async def end_with(parent: int) -> None:
    """Shut this process down once its parent is gone: a killed supervisor shall not leave a server behind."""
    while os.getppid() == parent:
        await asyncio.sleep(1)
    LOGGER.warning("the supervisor is gone; this server ends too")
    os.kill(os.getpid(), signal.SIGTERM)
