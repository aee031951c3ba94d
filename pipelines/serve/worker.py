"""A worker of `longtail serve`: BentoML's own HTTP worker, which starts and stops to take requests when it is told to.

Run as `python -P _serve_worker.py PUBLIC_FD GRACE TAG --fd PRIVATE_FD …`; what follows GRACE are BentoML's own
arguments. It answers on the private socket from the start, to be tested before anybody depends on it. Lines on standard
input:

    listen   also accept from the public socket, which all workers of all versions share
    retire   stop doing so; requests under way, and those of connections that are open, are still answered
    drain    the same, and end once nobody is connected

The public socket stays open in the supervisor: a connection that nobody has accepted waits for whoever listens next, so
none is lost between versions. SIGTERM, and the end of standard input, which is the supervisor's, end the worker in
order: it takes what waits in the public socket, closes that, answers all that it has taken, and ends; GRACE seconds
later whoever is still connected is cut off.
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

IDLE = 1.0  # seconds without a request after which a connection is closed when the worker ends
CLOSE = (b"connection", b"close")


class Worker(uvicorn.Server):
    """A server with a second socket that can be opened and closed."""

    public: socket.socket
    grace: (
        float  # seconds that open connections get to end; between two versions idle ones end by themselves after five
    )
    accepting: asyncio.Server | None = None
    retired = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        threading.Thread(target=self.obey, args=(loop,), daemon=True).start()

    def obey(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass the lines of standard input on to the event loop."""
        for line in sys.stdin:
            asyncio.run_coroutine_threadsafe(self.act(line.strip()), loop)
        asyncio.run_coroutine_threadsafe(self.act("stop"), loop)

    async def act(self, command: str) -> None:
        if command == "listen" and self.accepting is None and not self.should_exit:
            self.accepting = await asyncio.get_running_loop().create_server(self.protocol, sock=self.public)
        elif command in ("retire", "drain"):
            await self.retire()
            if command == "drain":
                self.lifespan.state["draining"] = True  # which the service's /readyz says
                await self.empty()  # idle connections end by themselves after five seconds
        if command in ("drain", "stop"):
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what has been accepted, for as long as `grace` allows, then end like any server of uvicorn's."""
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
        """Accept who waits in the public socket, then close it: connections left in it would be reset."""
        if self.accepting is None:
            return
        loop, spare = asyncio.get_running_loop(), self.public.dup()
        self.accepting.close()
        self.accepting = None
        await asyncio.sleep(0.01)  # the event loop closes its own descriptor later
        with spare, contextlib.suppress(OSError):  # nobody waits any more
            while True:
                accepted, _ = spare.accept()
                accepted.setblocking(False)
                await loop.connect_accepted_socket(self.protocol, accepted)

    async def retire(self) -> None:
        """Accept no more connections, and ask for the end of those that are open with the next answer on each."""
        if self.accepting is not None:
            self.accepting.close()
            self.accepting = None
        if not self.retired:
            self.retired = True
            self.config.encoded_headers.append(CLOSE)
            self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]

    async def empty(self, idle: float = math.inf) -> None:
        """Wait until nobody is connected, or grace ends; close connections that are without a request for `idle` s."""
        clock = asyncio.get_running_loop().time
        end = clock() + self.grace
        resting: dict[Any, tuple[Any, float]] = {}  # connection: its last request, and since when nothing came after it
        while self.server_state.connections and clock() < end:
            for connection in list(self.server_state.connections):
                last = at_rest(connection)
                if last is None or resting.setdefault(connection, (last, clock()))[0] is not last:
                    resting.pop(connection, None)
                elif clock() - resting[connection][1] >= idle:
                    connection.transport.close()
            await asyncio.sleep(0.05)


def at_rest(connection: Any) -> object | None:
    """The last request of a connection that has no other one under way, not even a part; None where there is one."""
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
