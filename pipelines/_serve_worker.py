"""A worker of `longtail serve`: BentoML's own HTTP worker, which starts and stops to take requests when it is told to.

Run as `python -P _serve_worker.py PUBLIC_FD TAG --fd PRIVATE_FD …`; what follows PUBLIC_FD are BentoML's own arguments.
It answers on the private socket from the start, to be tested before anybody depends on it. Lines on standard input:

    listen   also accept from the public socket, which all workers of all versions share
    retire   stop doing so; requests under way, and those of connections that are open, are still answered
    drain    the same, and end once nobody is connected

The public socket stays open in the supervisor: a connection that nobody has accepted waits for whoever listens next, so
none is lost between versions. The end of standard input, which is the supervisor's, ends the worker in order.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from typing import Any

import uvicorn

PATIENCE = 30.0  # seconds that open connections get to end; idle ones end by themselves after five
CLOSE = (b"connection", b"close")


class Worker(uvicorn.Server):
    """A server with a second socket that can be opened and closed."""

    public: socket.socket
    accepting: asyncio.Server | None = None

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
        if command == "listen" and self.accepting is None:
            self.accepting = await asyncio.get_running_loop().create_server(self.protocol, sock=self.public)
        elif command in ("retire", "drain"):
            await self.retire()
            if command == "drain":
                await self.empty()
        if command in ("drain", "stop"):
            self.should_exit = True

    def protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def retire(self) -> None:
        """Accept no more connections, and ask for the end of those that are open with the next answer on each."""
        if self.accepting is not None:
            self.accepting.close()
            self.accepting = None
        self.config.encoded_headers.append(CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]

    async def empty(self) -> None:
        """Wait until nobody is connected, or patience ends."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while self.server_state.connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)


def main() -> None:
    Worker.public = socket.socket(fileno=int(sys.argv.pop(1)))
    Worker.public.setblocking(False)
    uvicorn.Server = Worker  # type: ignore[misc]
    from _bentoml_impl.worker.service import main as bentoml_worker  # type: ignore[import-untyped]

    bentoml_worker()


if __name__ == "__main__":
    main()
