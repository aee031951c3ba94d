"""Answers as ASGI messages: those of endpoints, and those of requests that are refused."""

from __future__ import annotations

import json
import logging
from typing import Any

from pydantic import ValidationError
from starlette.types import Send

from bento.api.endpoints import Endpoint
from bento.asgi.request_guard import Headers, Refusal
from bento.model.recommender import Recommender, RefusedError, UnknownError

LONG_BODY = 2**16  # bytes of a refused request that are read and discarded
LOGGER = logging.getLogger("longtail.serve")
FAILED = "this answer failed; the server's log has the reason"
JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")
RETRY = (b"retry-after", b"1")


def respond(endpoint: Endpoint, service: Recommender, body: bytes) -> tuple[int, bytes]:
    """Return the status and JSON of the answer to a body."""
    try:
        query = endpoint.takes and endpoint.takes.model_validate_json(body)
        return 200, endpoint.answer(service, query)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)
        n = error.error_count()
        return 400, failure(f"the request body has {n} invalid {'field' if n == 1 else 'fields'}", detail)
    except UnknownError as error:
        return 404, failure(str(error.args[0]))
    except RefusedError as error:
        return 400, failure(str(error))
    except Exception:
        LOGGER.exception("an answer failed")
        return 500, failure(FAILED)


def failure(text: str, detail: Any = None) -> bytes:
    return json.dumps({"error": text} | ({} if detail is None else {"detail": detail})).encode()


async def reply(send: Send, status: int, content: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [JSON, (b"content-length", b"%d" % len(content)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def refuse(send: Send, status: int, text: str, *more: tuple[bytes, bytes]) -> None:
    await reply(send, status, failure(text), *more)


async def instead(send: Send, refusal: Refusal, *more: tuple[bytes, bytes]) -> None:
    if refusal.text:
        await refuse(send, refusal.status, refusal.text, *refusal.headers, *more)
    else:
        await send({"type": "http.response.start", "status": refusal.status, "headers": list(refusal.headers)})
        await send({"type": "http.response.body"})


async def wrong_method(send: Send, path: str, *allowed: str) -> None:
    await refuse(
        send, 405, f"method not allowed; {path} accepts {' or '.join(allowed)}", (b"allow", ", ".join(allowed).encode())
    )


def closing(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the header that closes a connection whose request was refused before its long body arrived."""
    declared = headers.get(b"content-length", b"0")
    is_long = b"transfer-encoding" in headers or not declared.isdigit() or int(declared) > LONG_BODY
    return [CLOSE] if is_long else []
