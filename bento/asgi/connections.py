"""HTTP connections with limits: on their number, on the time to send a request, and on the time to read its answer.

uvicorn closes connections only when they are idle between two requests: a client that sends half a request, or never
reads an answer, would keep its connection and memory forever.
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
HIGH_WATER = 2**14  # bytes of an unread answer that start the watch
IN_KERNEL = 2**18  # bytes of an answer in the kernel's buffer: all of it stays in memory until the last are taken
UNREAD = 2**26  # bytes of all unread answers together
TICK = 1.0  # seconds between two checks of an unread answer
SLOWEST = 2**13  # bytes that a client must read in a tick
LINGERING = 100  # connections that get an error and a second to read it before they are closed
OTHERS = 128  # file descriptors for anything but connections


@dataclass(frozen=True)
class Limits:
    connections: int = 1000  # LONGTAIL_CONNECTIONS: of each worker
    patience: float = Guard.patience  # LONGTAIL_PATIENCE: seconds for the headers, and between reads of an answer
    unread: int = UNREAD


class Connection(HttpToolsProtocol):
    """A connection that closes if its client is too slow, or if there are too many connections."""

    limits: ClassVar[Limits] = Limits()
    note: ClassVar[Callable[[str], object]] = staticmethod(lambda reason: None)  # called with the reason of a cut
    present: ClassVar[dict[Connection, None]] = {}  # in order of arrival
    unread: ClassVar[dict[Connection, None]] = {}  # those with unread answers
    lingering: ClassVar[set[Connection]] = set()

    refused = False  # further input is ignored
    in_headers = False  # the headers of a request have arrived in part
    size = 0  # bytes of these headers
    since = 0.0  # when this connection began to wait for a request
    timer: TimerHandle | None = None  # closes it unless the headers arrive
    tick: TimerHandle | None = None  # checks if an answer is read
    left, progress = 0, 0.0  # its unread bytes at the last check, and when they last decreased

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        if (own := transport.get_extra_info("socket")) is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, IN_KERNEL)
        self.since = self.loop.time()
        if len(self.present) >= self.limits.connections and not make_room():
            self.end(503, f"more than {self.limits.connections} connections; try again", "full", b"retry-after: 1\r\n")
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
            return  # the headers are complete, as nearly always
        self.size += len(data)
        if self.size > MAX_HEADERS:
            self.end(431, f"the headers are too long, expected at most {MAX_HEADERS} bytes", "long headers")
        elif self.timer is None and self.timeout_keep_alive_task is None:
            self.wait_for_headers()

    def wait_for_headers(self) -> None:
        self.timer = self.loop.call_later(self.limits.patience, self.late)

    def late(self) -> None:
        self.timer = None
        if self.is_answering():  # an earlier request
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
        """Check once per tick that the answer is being read, and close the connection if not."""
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
        if unread_bytes(self):  # the application has written the answer, the client has not read it
            self.watch_reader()
        else:
            super().timeout_keep_alive_handler()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.present.pop(self, None)  # another protocol took over the connection

    def cut(self, reason: str) -> None:
        """Abort the connection and discard its unread answer."""
        self.unread.pop(self, None)
        type(self).note(reason)
        if unread_bytes(self):
            self.transport.abort()
        else:
            self.transport.close()

    def end(self, status: int, text: str, reason: str, more: bytes = b"") -> None:
        """Send an error, and close a second later: closing with unread input would make the client lose the error."""
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
    """Close the connection that has waited longest for a request, partial requests first; False if all are busy.

    Its age does not matter: otherwise clients that connect faster than others can send would keep those out.
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
    """Make uvicorn, which starts later, use these connections; raises ValueError if a setting is wrong."""
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
    """Yield the gauges of the worker that answers the scrape."""
    yield GaugeMetricFamily("longtail_connections", "Open connections of this worker", value=len(Connection.present))
    yield GaugeMetricFamily(
        "longtail_unread_bytes", "Bytes of answers of this worker that clients have not read yet",
        value=sum(map(unread_bytes, Connection.unread)),
    )  # fmt: skip
