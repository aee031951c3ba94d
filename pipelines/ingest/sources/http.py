"""GET and HEAD of addresses in the settings; redirects to private networks, weaker schemes or credentials are refused.

The owner of a public address could otherwise make this machine fetch data that only it can reach, such as a cloud's
credentials at 169.254.169.254. The IP address that a name resolves to is checked when the connection is made.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from pipelines.privacy.shown import redacted

VARIABLE = "LONGTAIL_PRIVATE_REDIRECTS"  # 1 allows them
MOST_REDIRECTS = 10
SHARED = ipaddress.ip_network("100.64.0.0/10")  # used by carriers, and by some clouds


class RedirectError(ValueError):
    """Forbidden redirect; another attempt would fail the same way."""


@contextmanager
def request(
    method: str, url: str, *, headers: dict[str, str], timeout: tuple[float, float]
) -> Iterator[requests.Response]:
    """Return the response to a request, with its body unread; ${NAME} in the address is an environment variable.

    Raises RedirectError, and the errors of requests.
    """
    target, is_private = expanded(url), True
    for _ in range(MOST_REDIRECTS + 1):
        with requests.Session() as session:
            adapter = Guarded(refuses=not is_private)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            with session.request(
                method, target, headers=headers, timeout=timeout, stream=True, allow_redirects=False
            ) as response:
                if not response.is_redirect:
                    yield response
                    return
                new = urljoin(target, response.headers["Location"])
                # a private first address is intended, and may redirect to other private ones
                is_private = os.environ.get(VARIABLE) == "1" or (is_private and adapter.met_private)
                check(redacted(url), target, new, is_private=is_private)
                target = new
    raise RedirectError(f"{redacted(url)} redirects more than {MOST_REDIRECTS} times; set the final address")


def expanded(url: str) -> str:
    """Return an address with each ${NAME} replaced by that environment variable."""

    def value(match: re.Match[str]) -> str:
        if not (found := os.environ.get(match[1])):
            raise ValueError(f"{redacted(url)} refers to the environment variable {match[1]}, which is not set; set it")
        return found

    return re.sub(r"\$\{(\w+)\}", value, url)


def check(url: str, old: str, new: str, *, is_private: bool) -> None:
    """Raise RedirectError for a redirect to a forbidden kind of address; the host is checked on connection."""
    before, after = urlsplit(old), urlsplit(new)
    if after.scheme not in ("http", "https") or not after.hostname:
        raise RedirectError(f"{url} redirects to {redacted(new)}, expected an http(s) address; set another ingest.url")
    if before.scheme == "https" and after.scheme == "http":
        raise RedirectError(
            f"{url} redirects from https to {redacted(new)}, which is unprotected; set an https address as ingest.url"
        )
    if "@" in after.netloc and after.netloc != before.netloc:
        raise RedirectError(f"{url} redirects to an address with a user or password; set the final address")
    if not is_private and (literal := address(after.hostname)) is not None and private(literal):
        refuse(after.hostname)


def refuse(host: str) -> None:
    raise RedirectError(
        f"a redirect leads to the private address {host}; set that address as ingest.url if you trust it, or set "
        f"{VARIABLE}=1"
    )


def address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address in a host; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def private(found: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is not public: loopback, private, link-local, unique-local and the like.

    An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) is checked as IPv4.
    """
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return private(inner)
    elif found in SHARED:
        return True
    return not found.is_global or found.is_multicast


class Guarded(HTTPAdapter):
    """HTTP adapter that checks the resolved IP address before anything is sent.

    A proxy resolves names itself; then only hosts written as IP addresses can be checked.
    """

    def __init__(self, *, refuses: bool) -> None:
        """refuses: close a connection to a private address, and raise RedirectError."""
        self.refuses = refuses
        self.met_private = False
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)

        def opened(connection: HTTPConnection) -> socket.socket:
            made = HTTPConnection._new_conn(connection)
            peer = address(made.getpeername()[0])
            if peer is None or private(peer):
                self.met_private = True
                if self.refuses:
                    made.close()
                    refuse(f"{connection.host} ({peer})" if str(peer) != connection.host else connection.host)
            return made

        plain = type("Plain", (HTTPConnection,), {"_new_conn": opened})
        secure = type("Secure", (HTTPSConnection,), {"_new_conn": opened})
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }
