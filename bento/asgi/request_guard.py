"""Refuse requests with a wrong host, origin, key or content type, and those too long, too slow or too many."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import Receive, Scope

from bento.asgi.hosts import Hosts, is_loopback, listening
from bento.asgi.origins import PREFLIGHT, SAFE, Origins, is_preflight

Headers = Mapping[bytes, bytes]
KEY = "LONGTAIL_API_KEY"
MAX_BODY = 2**20  # bytes; the largest valid request is about 0.3 MB
MAX_BODIES = 2**26  # bytes of all incomplete bodies together
ONCE = (
    b"host",
    b"origin",
    b"sec-fetch-site",
    b"authorization",
    b"content-type",
)  # no duplicates: decisions depend on them
JSON = re.compile(rb"application/([\w.!#$&^-]+\+)?json", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Refusal:
    """An answer that replaces the endpoint's; without text for an allowed preflight."""

    status: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


OTHER_HOST = Refusal(
    421,
    "this service does not answer to the Host of the request; add it to LONGTAIL_HOSTS in the server's environment "
    "(names or IP addresses, separated by commas)",
)
OTHER_SITE = Refusal(
    403,
    "a page of another site may not send this request; to allow it, add its origin, such as https://shop.example, to "
    "LONGTAIL_CORS_ORIGINS in the server's environment",
)
NO_KEY = Refusal(
    401,
    "the API key is missing or wrong; send it as a bearer token: Authorization: Bearer KEY",
    ((b"www-authenticate", b'Basic realm="longtail", charset="UTF-8"'),),
)
NOT_JSON = Refusal(415, "the body has to be JSON; send the header Content-Type: application/json")


@dataclass
class Guard:
    """Settings from the environment, and `active`, the number of requests being answered."""

    key: str | None = None  # LONGTAIL_API_KEY; None: no key is required
    concurrency: int = 64  # LONGTAIL_CONCURRENCY: further concurrent requests are answered 503
    patience: float = 10.0  # LONGTAIL_PATIENCE: seconds that a client may take to send its request
    timeout: float = 30.0  # LONGTAIL_TIMEOUT: seconds that an answer may take
    active: int = 0
    hosts: Hosts = field(default_factory=Hosts)
    origins: Origins = field(default_factory=Origins)
    held: int = 0  # bytes of incomplete bodies

    @classmethod
    def from_environment(cls) -> Guard:
        """Read the settings; raises ValueError naming a variable with a wrong value."""
        return cls(
            key=read_key(),
            concurrency=int(positive("LONGTAIL_CONCURRENCY", cls.concurrency)),
            patience=positive("LONGTAIL_PATIENCE", cls.patience),
            timeout=positive("LONGTAIL_TIMEOUT", cls.timeout),
            hosts=Hosts.from_environment(),
            origins=Origins.from_environment(),
        )

    def refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Return the refusal of a request by its headers; None if they are in order."""
        if len(headers) < len(scope["headers"]) and (name := repeated(scope)):
            return Refusal(400, f"the header {name} is repeated, expected once")
        if not self.hosts.allow(headers.get(b"host"), (scope.get("server") or (None,))[0]):
            return OTHER_HOST
        if is_preflight(scope["method"], headers):  # has no key yet
            may = headers[b"origin"] in self.origins.named
            return Refusal(204, "", (*PREFLIGHT,)) if may else OTHER_SITE
        if scope["method"] not in SAFE and not self.origins.admit(headers):
            return OTHER_SITE
        return None if self.admits(headers) else NO_KEY

    def admits(self, headers: Headers) -> bool:
        """Return whether no key is required, or the request has it: as bearer token, or as password of Basic."""
        if self.key is None:
            return True
        scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"basic":  # what browsers can send
            try:
                credentials = base64.b64decode(credentials, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(credentials, self.key.encode())

    def warnings(self) -> list[str]:
        """Return a warning for each setting that opens the service to users of other machines."""
        found = []
        public = sorted(address for address in listening() if not is_loopback(address))
        if public and self.key is None:
            found.append(
                f"the server listens on {', '.join(public)} without an API key: anyone who reaches this address can "
                "read user histories and report events; set LONGTAIL_API_KEY, or listen on 127.0.0.1 (--host 127.0.0.1)"
            )
        if self.hosts.any:
            found.append(
                "LONGTAIL_HOSTS=* accepts any host, so a page of another site can read answers by DNS rebinding; "
                "list the hosts instead"
            )
        return found

    async def body(self, headers: Headers, receive: Receive) -> bytes:
        """Return the whole body, chunked or not.

        Raises OverflowError if it is too long, TimeoutError if it takes too long, ConnectionError if the client
        disconnects, BufferError if all incomplete bodies together are too long.
        """
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > MAX_BODY:
            raise OverflowError
        body: bytes = b""
        held = 0
        try:
            async with asyncio.timeout(self.patience):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ConnectionError
                    body += message.get("body", b"")
                    if len(body) > MAX_BODY:
                        raise OverflowError
                    if not message.get("more_body"):
                        return body
                    self.held += len(body) - held
                    held = len(body)
                    if self.held > MAX_BODIES:
                        raise BufferError
        finally:
            self.held -= held


def read_key() -> str | None:
    """Return the API key; raises ValueError if no request could send it."""
    text = os.environ.get(KEY)
    if text is None:
        return None
    if not text.strip():
        raise ValueError(
            f"{KEY} is set, but {'blank' if text else 'empty'}: set it to the key that requests must send, or unset it "
            "to serve without a key"
        )
    if text != text.strip() or not text.isprintable():
        raise ValueError(
            f"{KEY} begins or ends with whitespace, such as a line end, or has a control character, which no HTTP "
            "header can carry; remove it"
        )
    return text


def repeated(scope: Scope) -> str | None:
    """Return the first header of ONCE that is repeated."""
    names = [name for name, _ in scope["headers"]]
    return next((name.decode() for name in ONCE if names.count(name) > 1), None)


def is_json(content_type: bytes) -> bool:
    """Return whether the type is JSON; browsers send some other types for other sites' pages without a preflight."""
    return JSON.fullmatch(content_type.partition(b";")[0].strip()) is not None


def positive(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {text!r}, expected a number above 0")
    return value
