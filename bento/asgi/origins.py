"""Origins whose pages may send requests from a browser: the service's own, and those in LONGTAIL_CORS_ORIGINS."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope

from bento.asgi.hosts import of_header

VARIABLE = "LONGTAIL_CORS_ORIGINS"
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))  # methods that change nothing
OURS = (b"same-origin", b"none")  # values of Sec-Fetch-Site; none: the address was typed or bookmarked
ORIGIN = re.compile(r"https?://[^/?#@\s]+", re.IGNORECASE)
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
VARY = (b"vary", b"Origin")
PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type, x-longtail-purpose"),
    (b"access-control-max-age", b"600"),
]

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True)
class Origins:
    """Origins of other sites whose pages may read answers and send writing requests."""

    named: frozenset[bytes] = frozenset()

    @classmethod
    def from_environment(cls) -> Origins:
        """Read LONGTAIL_CORS_ORIGINS; raises ValueError quoting an invalid entry."""
        entries = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip()]
        for entry in entries:
            if not ORIGIN.fullmatch(entry) or of_header(entry.partition("://")[2]) is None:
                raise ValueError(
                    f"{VARIABLE} has the entry {entry!r}, expected origins such as https://shop.example or "
                    "http://localhost:8080, separated by commas: scheme, host and port without path, each exact"
                )
        return cls(frozenset(spelled(entry).encode() for entry in entries))

    def admit(self, headers: Headers) -> bool:
        """Return whether a writing request comes from an allowed page, or from no page.

        Browsers send Origin with every such request, and Sec-Fetch-Site if the address is https or loopback.
        """
        origin = headers.get(b"origin")
        if origin in self.named:
            return True
        if headers.get(b"sec-fetch-site", b"none") not in OURS:
            return False
        return origin is None or is_own(origin, headers.get(b"host", b""))

    def answer_to(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers that let pages of a named origin read an answer."""
        if not self.named:
            return []
        origin = dict(scope["headers"]).get(b"origin")
        if origin is None or origin not in self.named:
            return [VARY]
        return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", b"retry-after"), VARY]


def is_preflight(method: str, headers: Headers) -> bool:
    """Return whether a request is a browser's CORS preflight."""
    return method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


def is_own(origin: bytes, host: bytes) -> bool:
    """Return whether a page's origin is the requested host; the scheme may differ behind a TLS proxy."""
    scheme, _, rest = spelled(origin.decode("latin-1")).partition("://")
    port = DEFAULT_PORTS.get(scheme)
    return port is not None and rest == host.decode("latin-1").lower().removesuffix(port)


def spelled(origin: str) -> str:
    """Return an origin as browsers send it: in lower case, without the port that its scheme implies."""
    origin = origin.lower()
    return origin.removesuffix(DEFAULT_PORTS.get(origin.partition("://")[0], ""))
