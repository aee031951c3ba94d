"""Connections on loopback: slow ones end, silent ones make room, unread answers stay within bounds, others go on."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http import auto

from bento.asgi import connections
from bento.asgi.connections import Connection, Limits
from bento.asgi.request_guard import Guard

LARGE = 8 * 2**20  # bytes; more than the kernel takes of an answer that nobody reads
GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"


class Server:
    """uvicorn with our connections, and an application whose answers are small, large or come when they are told to."""

    def __init__(self) -> None:
        self.cut: Counter[str] = Counter()
        self.goes = threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)  # of all connections accepted from it
        config = uvicorn.Config(self.app, http=Connection, log_level="error", interface="asgi3", timeout_keep_alive=60)
        self.uvicorn = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.uvicorn.run, args=([self.listening],))

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/waits":
            await asyncio.to_thread(self.goes.wait, 60)
        size = LARGE if scope["path"] == "/large" else 2
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * size})

    def connect(self, sent: bytes = b"") -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        made.settimeout(30)
        made.connect(self.listening.getsockname())
        made.sendall(sent)
        return made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    found = Server()
    monkeypatch.setattr(Connection, "limits", Limits(connections=20, patience=0.5, unread=2 * LARGE))
    monkeypatch.setattr(Connection, "note", staticmethod(lambda reason: found.cut.update([reason])))
    monkeypatch.setattr(connections, "TICK", 0.1)
    found.thread.start()
    until(lambda: found.uvicorn.started)
    yield found
    found.goes.set()
    found.uvicorn.should_exit = found.uvicorn.force_exit = True
    found.thread.join()
    assert Connection.present == {}
    assert Connection.unread == {}
    assert Connection.lingering == set()


def until(condition: Callable[[], object]) -> None:
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came")


def everything(client: socket.socket) -> bytes:
    """All that comes until the other side ends it, in whichever way."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(2**16):
            found += part
    return found


def answer(client: socket.socket) -> bytes:
    """Status line and headers of an answer, whose body is left alone."""
    found = b""
    while b"\r\n\r\n" not in found:
        part = client.recv(1)
        assert part, found
        found += part
    return found


def test_half_a_request_is_told_that_it_takes_too_long(server: Server) -> None:
    with server.connect(b"POST /recommend HTTP/1.1\r\nHost: a\r\nX-Ha") as half:
        found = everything(half)
    assert found.startswith(b"HTTP/1.1 408 ")
    assert found.endswith(b'{"error": "the headers took longer than 0.5 s to arrive"}')
    assert server.cut == {"slow headers": 1}


def test_headers_byte_by_byte_do_not_get_more_time(server: Server) -> None:
    with server.connect(b"GET / HTTP/1.1\r\n") as slow:
        slow.settimeout(0.02)
        found = b""
        with contextlib.suppress(ConnectionError):
            for _ in range(3000):
                slow.sendall(b"a")
                with contextlib.suppress(TimeoutError):
                    found = slow.recv(100)
                    break
    assert found.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(("before", "sent"), [(b"", b""), (b"", b"\r\n"), (GET % b"small", b"\r\n")])
def test_a_connection_without_a_request_ends(server: Server, before: bytes, sent: bytes) -> None:
    """Empty lines may come before a request, and were taken for the end of being idle."""
    with server.connect(before) as silent:
        if before:
            assert answer(silent).startswith(b"HTTP/1.1 200 ")
            assert silent.recv(2) == b"xx"
        silent.sendall(sent)
        assert everything(silent) == b""
    assert server.cut == {"no request": 1}


def test_headers_without_an_end_are_refused(server: Server) -> None:
    with server.connect(b"GET / HTTP/1.1\r\n") as endless:
        with contextlib.suppress(ConnectionError):
            for number in range(2000):
                endless.sendall(b"X-%d: %s\r\n" % (number, b"a" * 100))
        found = everything(endless)
    assert found.startswith(b"HTTP/1.1 431 ")


def test_a_request_before_it_keeps_the_next_one_waiting_and_not_ending(server: Server) -> None:
    with server.connect(GET % b"waits" + b"GET /small HTTP/1.1\r\n") as piped:
        piped.settimeout(1.5)
        with pytest.raises(TimeoutError):  # three times as long as headers may take
            piped.recv(1)
        server.goes.set()
        piped.settimeout(30)
        assert answer(piped).startswith(b"HTTP/1.1 200 ")
        assert piped.recv(2) == b"xx"
        piped.sendall(b"Host: a\r\n\r\n")
        assert answer(piped).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_nobody_reads_ends_with_its_connection(server: Server) -> None:
    with server.connect(GET % b"large") as deaf:
        assert answer(deaf).startswith(b"HTTP/1.1 200 ")
        until(lambda: server.cut)
        assert len(everything(deaf)) < LARGE
    assert server.cut == {"unread answer": 1}


def test_so_does_one_after_which_the_connection_was_to_close(server: Server) -> None:
    with server.connect(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n") as deaf:
        answer(deaf)
        until(lambda: server.cut)
        assert len(everything(deaf)) < LARGE


def test_a_reader_who_goes_on_reading_gets_all_and_may_ask_again(server: Server) -> None:
    """It takes several times as long as one may stand still."""
    with server.connect(GET % b"large") as slow:
        answer(slow)
        left = LARGE
        for _ in range(40):
            left -= len(slow.recv(2**16))
            threading.Event().wait(0.05)
        while left:
            left -= len(slow.recv(min(left, 2**16)))
        slow.sendall(GET % b"small")
        assert answer(slow).startswith(b"HTTP/1.1 200 ")
    assert server.cut == {}


def test_unread_answers_together_stay_within_their_bound(server: Server) -> None:
    """Whoever has read nothing for longest goes first; a client that reads gets its answer."""
    deaf = [server.connect(GET % b"large") for _ in range(10)]
    try:
        for each in deaf:
            answer(each)
        with server.connect(GET % b"large") as reader:
            answer(reader)
            left = LARGE
            while left:
                left -= len(reader.recv(min(left, 2**16)))
        assert server.cut["unread answer"] >= 8
    finally:
        for each in deaf:
            each.close()


def test_beyond_the_limit_a_connection_is_told_to_come_again(server: Server) -> None:
    busy = [server.connect(GET % b"waits") for _ in range(20)]
    try:
        until(lambda: sum(each.is_answering() for each in list(Connection.present)) == 20)
        with server.connect(GET % b"small") as refused:
            found = everything(refused)
        assert found.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in found
        assert found.endswith(b'{"error": "more than 20 connections; try again"}')
        server.goes.set()
        assert all(answer(each).startswith(b"HTTP/1.1 200 ") for each in busy)
    finally:
        for each in busy:
            each.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", GET % b"small"])
def test_a_thousand_connections_without_a_request_keep_nobody_out(
    server: Server, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(Connection, "limits", Limits(connections=20, patience=60))
    idle = []
    try:
        for number in range(400):
            idle.append(server.connect(sent))
            if number % 50 == 0:
                with server.connect(GET % b"small") as client:
                    assert answer(client).startswith(b"HTTP/1.1 200 ")
        assert len(Connection.present) <= 20
    finally:
        for each in idle:
            each.close()


def test_the_limit_leaves_descriptors_for_files_and_a_wrong_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "AutoHTTPProtocol", auto.AutoHTTPProtocol)
    monkeypatch.setattr(Connection, "limits", Limits())
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 300))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: None)
    connections.install(Guard(patience=7))
    assert Connection.limits == Limits(300 - connections.OTHERS, 7)
    monkeypatch.setenv("LONGTAIL_CONNECTIONS", "50")
    connections.install(Guard())
    assert Connection.limits == Limits(50, 10)
    monkeypatch.setenv("LONGTAIL_CONNECTIONS", "none")
    with pytest.raises(ValueError, match="LONGTAIL_CONNECTIONS is 'none', expected a number above 0"):
        connections.install(Guard())
