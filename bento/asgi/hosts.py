"""Hosts that the service answers to; other names are refused, even if they resolve here (DNS rebinding)."""

from __future__ import annotations

import os
import re
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

VARIABLE = "LONGTAIL_HOSTS"
LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
PORT = re.compile(r"[0-9]{1,5}")
MAPPED = ip_network("::ffff:0:0/96")  # IPv4 addresses as dual-stack sockets report them


@dataclass(frozen=True)
class Hosts:
    """Loopback, `named` hosts, and the address that a connection arrived at; on any port."""

    named: frozenset[str] = frozenset()
    any: bool = False  # accept every host

    @classmethod
    def from_environment(cls) -> Hosts:
        """Read LONGTAIL_HOSTS; raises ValueError quoting an invalid entry."""
        entries = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip()]
        named = set[str]()
        for entry in entries:
            if entry != "*" and (name := bare(entry)) is None:
                raise ValueError(
                    f"{VARIABLE} has the entry {entry!r}, expected host names or IP addresses without scheme and port, "
                    "separated by commas, or * for any host"
                )
            named.add(entry if entry == "*" else str(name))
        return cls(frozenset(named - {"*"}), "*" in named)

    def allow(self, header: bytes | None, arrived: str | None) -> bool:
        """Return whether a Host header is accepted; arrived: the local IP address of the connection."""
        return self.any or (header is not None and known(self, header, arrived))


@lru_cache(1024)
def known(hosts: Hosts, header: bytes, arrived: str | None) -> bool:
    host = of_header(header.decode("latin-1"))
    return host is not None and (
        host in LOOPBACK
        or host in hosts.named
        # a browser sends an address only for a page at that address, so no DNS name is involved
        or (arrived is not None and host == bare(arrived))
    )


def of_header(text: str) -> str | None:
    """Return the host of a Host header, or of an origin after its scheme; None for anything malformed."""
    if text.startswith("["):
        address, closed, port = text[1:].partition("]")
        if not closed or ":" not in address or (port and not port.startswith(":")):
            return None
        host, port = bare(address), port[1:] if port else "0"
    else:
        name, colon, port = text.partition(":")
        host, port = bare(name), port if colon else "0"
    return host if PORT.fullmatch(port) and int(port) < 2**16 else None


def bare(text: str) -> str | None:
    """Return a host name or address in canonical form: lower case, no final dot, no brackets; None if invalid."""
    text = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(plain(ip_address(text)))
    except ValueError:
        name = text.lower().removesuffix(".")
        return name if NAME.fullmatch(name) and len(name) < 254 else None


def plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address of an IPv4-mapped IPv6 address, any other address unchanged."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) and address in MAPPED else address


def listening() -> set[str]:
    """Return the IP addresses of this process's listening sockets, bound ones included."""
    found = set[str]()
    for fd in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        with suppress(OSError):  # another kind of descriptor, or closed meanwhile
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as of:
                if of.family in (socket.AF_INET, socket.AF_INET6) and is_open(of):
                    found.add(str(of.getsockname()[0]))
    return found


def is_open(bound: socket.socket) -> bool:
    """Return whether a TCP socket is a server's: bound to a port, without a peer."""
    try:
        bound.getpeername()
    except OSError:
        return bound.type == socket.SOCK_STREAM and bool(bound.getsockname()[1])
    return False


def is_loopback(address: str) -> bool:
    return plain(ip_address(address.partition("%")[0])).is_loopback
