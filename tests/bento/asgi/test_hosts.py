"""Hosts that the service answers to, in every spelling."""

from __future__ import annotations

import socket

import pytest

from bento.asgi import hosts
from bento.asgi.hosts import Hosts

OTHERS = [
    *("evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "evil.test:3000", "127.0.0.2", "10.0.0.7", "0.0.0.0"),
    *(
        "user@localhost",
        "localhost@evil.test",
        "localhost, evil.test",
        "localhost evil.test",
        "localhost/",
        "localhost..",
    ),
    *(
        "",
        ".",
        ":3000",
        "localhost:",
        "localhost:abc",
        "localhost:99999",
        "localhost:80:80",
        "localhost:-1",
        "localhost:８",
    ),
    *("::1", "[::1", "[::1]x", "[::1]:x", "[localhost]", "[]", "[fe80::1]", "127.1", "2130706433", "0x7f000001"),
    *("%6cocalhost", "local\x00host", "\xa0localhost"),
]
OWN = [
    *("localhost", "localhost:3000", "LOCALHOST", "localhost.", "LocalHost.:80", "127.0.0.1", "127.0.0.1:65535"),
    *("[::1]", "[::1]:3000", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]:3000"),
]


@pytest.mark.parametrize("host", OWN)
def test_loopback_is_answered_in_any_spelling(host: str) -> None:
    assert Hosts().allow(host.encode(), None)


@pytest.mark.parametrize("host", OTHERS)
def test_another_or_a_malformed_host_is_not_answered(host: str) -> None:
    assert not Hosts().allow(host.encode("utf-8"), "127.0.0.1")
    assert not Hosts(frozenset({"shop.example"})).allow(host.encode("utf-8"), "127.0.0.1")


def test_a_request_without_a_host_is_not_answered() -> None:
    assert not Hosts().allow(None, "127.0.0.1")
    assert Hosts(any=True).allow(None, None)


def test_the_address_that_a_connection_arrived_at_is_answered_and_no_other_one() -> None:
    """A pod, or a server on a local network, is asked by its address; nobody can point a name there unseen."""
    assert Hosts().allow(b"10.1.2.3:3000", "10.1.2.3")
    assert Hosts().allow(b"10.1.2.3", "::ffff:10.1.2.3")  # as a socket for both versions has it
    assert Hosts().allow(b"[FD00:0:0::7]:3000", "fd00::7")
    assert not Hosts().allow(b"10.1.2.4", "10.1.2.3")
    assert not Hosts().allow(b"evil.test", "10.1.2.3")


def test_named_hosts_are_answered_on_any_port_beside_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_HOSTS", " Shop.Example. , 192.0.2.7,[2001:DB8::1], 2001:db8:0::2 ,,")
    found = Hosts.from_environment()
    for host in (
        b"shop.example",
        b"SHOP.example:8080",
        b"192.0.2.7:1",
        b"[2001:db8::1]",
        b"[2001:db8::2]:9",
        b"localhost",
    ):
        assert found.allow(host, None), host
    for host in (b"example", b"a.shop.example", b"shop.example.evil.test", b"192.0.2.8"):
        assert not found.allow(host, None), host


def test_a_star_answers_every_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_HOSTS", "shop.example,*")
    assert Hosts.from_environment().allow(b"evil.test", None)


@pytest.mark.parametrize(
    "entry", ["https://shop.example", "shop.example:443", "*.example", "a b", "shop.example/x", "[::"]
)
def test_an_entry_that_is_not_a_host_is_quoted(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("LONGTAIL_HOSTS", f"localhost,{entry}")
    with pytest.raises(
        ValueError, match=r"LONGTAIL_HOSTS has the entry .*expected host names or IP addresses"
    ) as error:
        Hosts.from_environment()
    assert repr(entry) in str(error.value)


def test_the_addresses_that_a_process_listens_on_are_found() -> None:
    before = hosts.listening()
    assert "127.0.0.9" not in before
    with socket.create_server(("127.0.0.9", 0)) as server, socket.create_connection(server.getsockname()):
        assert hosts.listening() - before == {"127.0.0.9"}  # of the server; the client's own address is not one
    assert hosts.listening() == before


@pytest.mark.parametrize(
    ("address", "expected"), [("127.3.2.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)]
)
def test_only_loopback_is_private_to_the_machine(address: str, expected: bool) -> None:
    assert hosts.is_loopback(address) is expected
    assert hosts.is_loopback("::ffff:127.0.0.1")
    assert not hosts.is_loopback("fe80::1%eth0")
