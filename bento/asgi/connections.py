"""HTTP connections with limits: how many there are, how long a request may take to come and its answer to be read.

uvicorn ends connections that are idle between two requests, and no others: whoever sends half a request, or never reads
an answer, would keep the connection and its memory for good.
"""

from __future__ import annotations

import json
import resource
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from prometheus_client.core import GaugeMetricFamily
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bento.asgi.request_guard import Guard, positive

MAX_HEADERS = 2**16  # bytes of a request's line and headers
HIGH_WATER = 2**14  # bytes of an answer that may wait unnoticed
IN_KERNEL = 2**18  # bytes of an answer that the kernel may take: all of it stays in memory until the last are taken
UNREAD = 2**26  # bytes of all answers together that wait to be read
TICK = 1.0  # seconds between two looks at an answer that waits
SLOWEST = 2**13  # bytes that a client has to read of it in a tick
LINGERING = 100  # connections that are told why they end, and are given a second to read it
OTHERS = 128  # file descriptors for anything but connections


@dataclass(frozen=True)
class Limits:
    connections: int = 1000  # LONGTAIL_CONNECTIONS: of each worker
    patience: float = Guard.patience  # LONGTAIL_PATIENCE: seconds that headers may take, and a reader may stand still
    unread: int = UNREAD


class Connection(HttpToolsProtocol):
    """A connection that ends where its client is too slow, and makes room where there are too many."""

    limits: ClassVar[Limits] = Limits()
    note: ClassVar[Callable[[str], object]] = staticmethod(lambda reason: None)  # is told why one was cut
    present: ClassVar[dict[Connection, None]] = {}  # in order of arrival
    unread: ClassVar[dict[Connection, None]] = {}  # whose answers wait to be read
    lingering: ClassVar[set[Connection]] = set()

    refused = False  # what comes is ignored
    in_headers = False  # the first bytes of a request have come, and not all of its headers
    size = 0  # bytes of these headers
    since = 0.0  # when this connection began to wait for a request
    timer: TimerHandle | None = None  # ends it unless the headers come
    tick: TimerHandle | None = None  # looks whether an answer is read
    left, progress = 0, 0.0  # bytes of it at the last look, and when they last became fewer

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        if (own := transport.get_extra_info("socket")) is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, IN_KERNEL)
        self.since = self.loop.time()
        if len(self.present) >= self.limits.connections and not make_room():
            self.end(503, f"there are {self.limits.connections} connections; try again", "full", b"retry-after: 1\r\n")
            return
        self.present[self] = None
        self.wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        for where in (self.present, self.unread):
            where.pop(self, None)
        self.lingering.discard(self)
        for timer in (self.timer, self.tick):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        super().data_received(data)
        if not self.in_headers and self.is_answering():
            return  # all of the headers have come, as they nearly always do
        self.size += len(data)
        if self.size > MAX_HEADERS:
            self.end(431, f"the headers are longer than {MAX_HEADERS} bytes", "long headers")
        elif self.timer is None and self.timeout_keep_alive_task is None:
            self.wait_for_headers()

    def wait_for_headers(self) -> None:
        self.timer = self.loop.call_later(self.limits.patience, self.late)

    def late(self) -> None:
        self.timer = None
        if self.is_answering():  # a request before this one
            self.wait_for_headers()
        elif self.in_headers:
            self.end(408, f"the headers took longer than {self.limits.patience:g} s to arrive", "slow headers")
        else:
            self.cut("no request")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_headers = True

    def on_headers_complete(self) -> None:
        self.in_headers, self.size = False, 0
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.since = self.loop.time()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.watch_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.watch_reader()
        while len(self.unread) > 1 and sum(map(unread_bytes, self.unread)) > self.limits.unread:
            min(self.unread, key=lambda each: each.progress).cut("unread answer")

    def watch_reader(self) -> None:
        """Look now and then whether an answer is read, and end the connection where it is not."""
        if self.tick is None:
            self.unread[self] = None
            self.left, self.progress = unread_bytes(self), self.loop.time()
            self.tick = self.loop.call_later(TICK, self.look)

    def look(self) -> None:
        self.tick = None
        left, now = unread_bytes(self), self.loop.time()
        if left == 0:
            self.unread.pop(self, None)
            if self.timer is None and self.timeout_keep_alive_task is None and not self.is_answering():
                self.wait_for_headers()
            return
        if left <= self.left - SLOWEST:
            self.progress = now
        if now - self.progress >= self.limits.patience:
            self.cut("unread answer")
            return
        self.left = left
        self.tick = self.loop.call_later(TICK, self.look)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if unread_bytes(self):  # the application is done with the answer, its reader is not
            self.watch_reader()
        else:
            super().timeout_keep_alive_handler()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.present.pop(self, None)  # another protocol has the connection

    def cut(self, reason: str) -> None:
        """End the connection, with what nobody reads."""
        self.unread.pop(self, None)
        type(self).note(reason)
        if unread_bytes(self):
            self.transport.abort()
        else:
            self.transport.close()

    def end(self, status: int, text: str, reason: str, more: bytes = b"") -> None:
        """Say why the connection ends; a second is left to read it, since what is unread on our side would erase it."""
        self.refused = True
        self.present.pop(self, None)
        if len(self.lingering) >= LINGERING or self.is_answering() or self.transport.is_closing():
            self.cut(reason)
            return
        self.lingering.add(self)
        body = json.dumps({"error": text}).encode()
        about = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        self.transport.write(b"".join((STATUS_LINE[status], about, more, b"\r\n", body)))
        type(self).note(reason)
        self.timer = self.loop.call_later(TICK, self.transport.abort)


def unread_bytes(connection: Connection) -> int:
    return connection.transport.get_write_buffer_size()


def make_room() -> bool:
    """End the connection that has waited longest for a request, half a one first; False where all are being answered.

    Age does not matter: who connects faster than others can send would else keep them out.
    """
    waiting = [each for each in Connection.present if not each.is_answering()]
    half = (each for each in waiting if each.in_headers or each.cycle is None)
    chosen = next(half, None) or min(waiting, key=lambda each: each.since, default=None)
    if chosen is None:
        return False
    Connection.present.pop(chosen, None)
    chosen.cut("room for another")
    return True


def install(guard: Guard) -> None:
    """Let uvicorn, which starts after this, use such connections; raises ValueError where a setting is wrong."""
    wanted = int(positive("LONGTAIL_CONNECTIONS", Limits.connections))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted + OTHERS if hard == resource.RLIM_INFINITY else min(wanted + OTHERS, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        soft = target
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - OTHERS))
    Connection.limits = Limits(most, guard.patience)
    auto.AutoHTTPProtocol = Connection


def gauges() -> Iterator[GaugeMetricFamily]:
    """Gauges of the worker that is asked."""
    yield GaugeMetricFamily("longtail_connections", "Open connections of this worker", value=len(Connection.present))
    yield GaugeMetricFamily(
        "longtail_unread_bytes", "Bytes of answers in this worker that their clients have not read yet",
        value=sum(map(unread_bytes, Connection.unread)),
    )  # fmt: skip
