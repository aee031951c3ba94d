"""Redirects, by real servers on loopback: to no private network, to nothing less than https, and without secrets."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.ingest.sources import download, http
from pipelines.ingest.sources.http import RedirectError, private

SHA = hashlib.sha256(b"rows").hexdigest()
PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"  # as this file has it, see `servers`


class Server(ThreadingHTTPServer):
    """Redirects to `leads_to` where it is set, else answers b"rows"; remembers the headers of requests."""

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), Handler)
        self.leads_to: str | None = None
        self.asked: list[dict[str, str]] = []
        self.url = f"http://{host}:{self.server_port}/rows.csv"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers.items()))
        self.send_response(200 if self.server.leads_to is None else 302)
        if self.server.leads_to is not None:
            self.send_header("Location", self.server.leads_to)
            self.send_header("Set-Cookie", "session=s3cret")
        self.send_header("Content-Length", "4" if self.server.leads_to is None else "0")
        self.end_headers()
        if self.server.leads_to is None and self.command == "GET":
            self.wfile.write(b"rows")

    do_HEAD = do_GET  # noqa: N815  named by the base class

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  named by the base class
        pass


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server]]:
    """One on an address that counts as public, one on an address that counts as private."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(http, "private", lambda found: found == ipaddress.ip_address(PRIVATE))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    one, other = Server(PUBLIC), Server(PRIVATE)
    yield one, other
    for server in (one, other):
        server.shutdown()
        server.server_close()


def named(monkeypatch: pytest.MonkeyPatch, name: str, host: str) -> None:
    """Let a name resolve to an address."""
    resolve: Callable[..., Any] = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda of, *rest: resolve(host if of == name else of, *rest))


def fetched(url: str) -> bytes:
    return download.fetch(url, SHA, backoff=0).read_bytes()


def test_a_redirect_to_a_private_address_is_refused_before_anything_is_sent(servers: tuple[Server, Server]) -> None:
    public, inner = servers
    public.leads_to = inner.url
    with pytest.raises(RedirectError, match=r"leads to the private address 127\.0\.0\.2; .*LONGTAIL_PRIVATE_REDIRECTS"):
        fetched(public.url)
    assert inner.asked == []
    assert len(public.asked) == 1  # it is not tried again


def test_a_name_that_resolves_to_a_private_address_is_refused_at_the_connection(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    public, inner = servers
    named(monkeypatch, "files.example", PRIVATE)
    public.leads_to = inner.url.replace(PRIVATE, "files.example")
    with pytest.raises(RedirectError, match=r"private address files\.example \(127\.0\.0\.2\)"):
        fetched(public.url)
    assert inner.asked == []


def test_the_setting_allows_it(servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    public, inner = servers
    public.leads_to = inner.url
    monkeypatch.setenv(http.VARIABLE, "1")
    assert fetched(public.url) == b"rows"


def test_a_private_address_may_lead_to_its_neighbours_and_to_the_public(servers: tuple[Server, Server]) -> None:
    public, inner = servers
    neighbour = Server(PRIVATE)
    inner.leads_to = neighbour.url
    assert fetched(inner.url) == b"rows"
    inner.leads_to = public.url.replace("rows.csv", "other.csv")
    assert fetched(inner.url.replace("rows.csv", "other.csv")) == b"rows"
    neighbour.shutdown()


def test_the_way_back_from_the_public_to_the_private_is_refused(servers: tuple[Server, Server]) -> None:
    public, inner = servers
    last = Server(PRIVATE)
    inner.leads_to, public.leads_to = public.url, last.url
    with pytest.raises(RedirectError, match="private address"):
        fetched(inner.url)
    assert last.asked == []
    last.shutdown()


def test_looking_for_new_data_is_as_careful(servers: tuple[Server, Server]) -> None:
    public, inner = servers
    public.leads_to = inner.url
    with pytest.raises(RedirectError), http.request("HEAD", public.url, headers={}, timeout=(5, 5)):
        pass
    assert inner.asked == []


def test_credentials_and_cookies_are_not_sent_on(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    public, _ = servers
    other = Server("127.0.0.3")
    public.leads_to = other.url
    netrc = Path("netrc")
    netrc.write_text(f"machine {PUBLIC} login user password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc.absolute()))
    monkeypatch.setenv("DATA_TOKEN", "t0ken")
    assert fetched(f"{public.url}?token=${{DATA_TOKEN}}") == b"rows"
    assert public.asked[0]["Authorization"].startswith("Basic ")
    assert not {"Authorization", "Cookie", "Referer"} & other.asked[0].keys()
    other.shutdown()


@pytest.mark.parametrize(
    ("leads_to", "problem"),
    [
        ("ftp://127.0.0.1/rows.csv", "expected an http"),
        ("file:///etc/passwd", "expected an http"),
        ("http://user:s3cret@127.0.0.1:1/rows.csv", "with a user or password"),
    ],
)
def test_a_redirect_to_something_else_is_refused_without_its_secret(
    servers: tuple[Server, Server], leads_to: str, problem: str
) -> None:
    servers[0].leads_to = leads_to
    with pytest.raises(RedirectError, match=problem) as error:
        fetched(servers[0].url)
    assert "s3cret" not in str(error.value)


def test_https_never_becomes_http() -> None:
    with pytest.raises(RedirectError, match="from https to http://a"):
        http.check("https://a", "https://a", "http://a/x?token=s3cret", is_private=True)


def test_redirects_in_a_circle_end(servers: tuple[Server, Server]) -> None:
    servers[0].leads_to = servers[0].url
    with pytest.raises(RedirectError, match="redirects more than 10 times"):
        fetched(servers[0].url)


def test_an_address_names_variables_and_messages_do_not_say_what_they_hold(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{servers[0].url}?token=${{DATA_TOKEN}}"
    with pytest.raises(ValueError, match="refers to the environment variable DATA_TOKEN, which is not set"):
        fetched(url)
    monkeypatch.setenv("DATA_TOKEN", "s3cret")
    servers[0].leads_to = "http://127.0.0.1:1/?token=s3cret"
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(OSError, match="could not be fetched"):
        fetched(url)


PRIVATE_ONES = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1"),
    *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::a00:1"),
]


@pytest.mark.parametrize("host", PRIVATE_ONES)
def test_addresses_that_are_private(host: str) -> None:
    assert private(ipaddress.ip_address(host))


@pytest.mark.parametrize("host", ["8.8.8.8", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_that_are_public(host: str) -> None:
    assert not private(ipaddress.ip_address(host))
