"""What a request must not do: come without the key, be too long or too slow, or come when too many are there."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Receive

Headers = Mapping[bytes, bytes]
MAX_BODY = 2**20  # bytes; the largest valid request is about 0.3 MB
MAX_BODIES = 2**26  # bytes of all bodies that are being sent


@dataclass
class Guard:
    """Settings from the environment; `active` is how many requests are being answered."""

    key: str | None = None  # LONGTAIL_API_KEY; None: none is asked for
    concurrency: int = 64  # LONGTAIL_CONCURRENCY: more requests at a time are answered 503
    patience: float = 10.0  # LONGTAIL_PATIENCE: seconds that a client may take to send its request
    timeout: float = 30.0  # LONGTAIL_TIMEOUT: seconds that an answer may take
    active: int = 0
    held: int = 0  # bytes of bodies that have not come as a whole

    @classmethod
    def from_environment(cls) -> Guard:
        """Raises ValueError, naming the variable, where one is no positive number."""
        key = os.environ.get("LONGTAIL_API_KEY") or None
        concurrency = int(positive("LONGTAIL_CONCURRENCY", cls.concurrency))
        return cls(
            key, concurrency, positive("LONGTAIL_PATIENCE", cls.patience), positive("LONGTAIL_TIMEOUT", cls.timeout)
        )

    def admits(self, headers: Headers) -> bool:
        """Whether no key is asked for, or a request brings it: as a bearer token, or as the password of Basic."""
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

    async def body(self, headers: Headers, receive: Receive) -> bytes:
        """All of a body, however it is sent.

        Raises OverflowError where it is too long, TimeoutError where it takes too long, ConnectionError where it ends,
        BufferError where it and all others that have not come as a whole are too long.
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


def positive(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {text!r}, expected a number above 0")
    return value
