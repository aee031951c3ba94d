"""A limit on request bodies: BentoML reads a body of any size into memory before it validates it."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 to a body that is, or says that it is, longer than `max_bytes`."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = HTTPConnection(scope).headers.get("content-length", "0")
        body = [] if declared.isdigit() and int(declared) > self.max_bytes else await self.read(receive)
        if not body:
            refusal = JSONResponse({"error": f"the body is longer than {self.max_bytes} bytes"}, status_code=413)
            await refusal(scope, receive, send)
            return
        messages = iter(body)

        async def replay() -> Message:
            return next(messages, None) or await receive()

        await self.app(scope, replay, send)

    async def read(self, receive: Receive) -> list[Message]:
        """All messages of a body (a client may send it in chunks of no declared length), none when it is too long."""
        messages: list[Message] = []
        total, more = 0, True
        while more:
            message = await receive()
            messages.append(message)
            total += len(message.get("body", b""))
            if total > self.max_bytes:
                return []
            more = message.get("more_body", False)
        return messages
