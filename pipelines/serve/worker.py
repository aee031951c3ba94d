"""A worker of `longtail serve`: BentoML's own HTTP worker, which starts and stops accepting requests on command.

Run as `python -P worker.py PUBLIC_FD GRACE TAG --fd PRIVATE_FD …`; the arguments after GRACE are BentoML's own. It
answers on the private socket from the start, so that it can be tested before it serves clients. Commands on standard
input, one per line:

    listen   also accept from the public socket, which all workers of all versions share
    retire   stop accepting from it; requests of open connections are still answered
    drain    retire, and end once all connections are closed

The public socket stays open in the supervisor: pending connections wait for the next worker that listens, so none is
lost between versions. SIGTERM, or the end of standard input (the supervisor's death), ends the worker gracefully: it
accepts the pending connections, closes the public socket, answers all accepted requests, and ends; connections that are
still open after GRACE seconds are cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import sys
import threading
from typing import Any

import uvicorn

IDLE = 1.0  # seconds without a request before a connection is closed, when the worker ends
CLOSE = (b"connection", b"close")


class Worker(uvicorn.Server):
    """A uvicorn server with a second socket that can be opened and closed."""

    public: socket.socket
    grace: float  # seconds for open connections to end; between two versions idle ones end after five
    accepting: asyncio.Server | None = None
    retired = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        threading.Thread(target=self.obey, args=(loop,), daemon=True).start()

    def obey(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass commands from standard input on to the event loop."""
        for line in sys.stdin:
            asyncio.run_coroutine_threadsafe(self.act(line.strip()), loop)
        asyncio.run_coroutine_threadsafe(self.act("stop"), loop)

    async def act(self, command: str) -> None:
        if command == "listen" and self.accepting is None and not self.should_exit:
            self.accepting = await asyncio.get_running_loop().create_server(self.protocol, sock=self.public)
        elif command in ("retire", "drain"):
            await self.retire()
            if command == "drain":
                self.lifespan.state["draining"] = True  # reported by the service's /readyz
                await self.empty()  # uvicorn closes idle connections after five seconds
        if command in ("drain", "stop"):
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the accepted requests, within `grace` seconds, then shut down as uvicorn does."""
        self.lifespan.state["draining"] = True
        await self.accept_the_last()
        await self.retire()
        await self.empty(IDLE)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        self.config.timeout_graceful_shutdown = 1
        await super().shutdown(sockets)

    def protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def accept_the_last(self) -> None:
        """Accept the pending connections of the public socket, then close it; otherwise they would be reset."""
        if self.accepting is None:
            return
        loop, spare = asyncio.get_running_loop(), self.public.dup()
        self.accepting.close()
        self.accepting = None
        await asyncio.sleep(0.01)  # the event loop closes its own descriptor later
        with spare, contextlib.suppress(OSError):  # no more pending connections
            while True:
                accepted, _ = spare.accept()
                accepted.setblocking(False)
                await loop.connect_accepted_socket(self.protocol, accepted)

    async def retire(self) -> None:
        """Accept no more connections, and send `Connection: close` with the next answer on each open one."""
        if self.accepting is not None:
            self.accepting.close()
            self.accepting = None
        if not self.retired:
            self.retired = True
            self.config.encoded_headers.append(CLOSE)
            self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]

    async def empty(self, idle: float = math.inf) -> None:
        """Wait until all connections are closed, or grace ends; close those without a request for `idle` s."""
        clock = asyncio.get_running_loop().time
        end = clock() + self.grace
        resting: dict[Any, tuple[Any, float]] = {}  # connection: its last request, and since when it is idle
        while self.server_state.connections and clock() < end:
            for connection in list(self.server_state.connections):
                last = at_rest(connection)
                if last is None or resting.setdefault(connection, (last, clock()))[0] is not last:
                    resting.pop(connection, None)
                elif clock() - resting[connection][1] >= idle:
                    connection.transport.close()
            await asyncio.sleep(0.05)


def at_rest(connection: Any) -> object | None:
    """Return the last request of an idle connection; None if a request, even a partial one, is under way."""
    cycle, scope = getattr(connection, "cycle", None), getattr(connection, "scope", None)
    if cycle is None:
        return connection if scope is None else None
    return cycle if cycle.response_complete and cycle.scope is scope else None


def main() -> None:
    Worker.public, Worker.grace = socket.socket(fileno=int(sys.argv.pop(1))), float(sys.argv.pop(1))
    Worker.public.setblocking(False)
    uvicorn.Server = Worker  # type: ignore[misc]
    from _bentoml_impl.worker.service import main as bentoml_worker  # type: ignore[import-untyped]

    bentoml_worker()


if __name__ == "__main__":
    main()
