"""Requests that are refused before anything is computed, and their answers."""

from __future__ import annotations

import asyncio
from base64 import b64encode

import pytest
from starlette.types import Message, Receive, Scope, Send

from bento.asgi.app import Front
from bento.asgi.origins import Origins
from bento.asgi.request_guard import MAX_BODY, Guard, is_json


def received(guard: Guard, *parts: bytes, declared: str = "") -> bytes:
    """The body that the guard reads of these parts, the last of which may never come (None)."""

    async def read() -> bytes:
        waiting = list(parts)

        async def receive() -> dict[str, object]:
            if not waiting:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or parts[-1] == b"never"}

        headers = {b"content-length": declared.encode()} if declared else {}
        return await guard.body(headers, receive)

    return asyncio.run(read())


def test_a_body_comes_together_from_its_parts() -> None:
    assert received(Guard(), b'{"user', b'_id": ', b'"a"}') == b'{"user_id": "a"}'


@pytest.mark.parametrize(("parts", "declared"), [([b""], str(MAX_BODY + 1)), ([b"x" * 2**19] * 3, "")])
def test_a_long_body_is_refused_declared_or_in_parts(parts: list[bytes], declared: str) -> None:
    with pytest.raises(OverflowError):
        received(Guard(), *parts, declared=declared)


def test_a_body_that_never_ends_runs_out_of_patience() -> None:
    with pytest.raises(TimeoutError):
        received(Guard(patience=0.05), b'{"user_id"', b"never")


def test_a_body_that_is_broken_off_is_no_body() -> None:
    async def gone() -> dict[str, object]:
        return {"type": "http.disconnect"}

    with pytest.raises(ConnectionError):
        asyncio.run(Guard().body({}, gone))


@pytest.mark.parametrize(
    ("header", "admitted"),
    [
        (b"Bearer s\xc3\xa9cret", True),
        (b"bearer s\xc3\xa9cret", True),
        (b"Basic " + b64encode("anybody:sécret".encode()), True),
        (b"Basic " + b64encode(b"anybody:other"), False),
        (b"Basic ???", False),
        (b"Bearer secret", False),
        (b"Bearer", False),
        (b"s\xc3\xa9cret", False),
        (b"", False),
    ],
)
def test_the_key_is_a_bearer_token_or_the_password_of_basic(header: bytes, admitted: bool) -> None:
    assert Guard(key="sécret").admits({b"authorization": header}) is admitted
    assert Guard().admits({b"authorization": header})


def test_settings_come_from_the_environment_and_a_wrong_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_CONCURRENCY", "7")
    monkeypatch.delenv("LONGTAIL_API_KEY", raising=False)
    assert Guard.from_environment() == Guard(concurrency=7)
    for wrong in ("0", "-1", "many", "nan", "inf"):
        monkeypatch.setenv("LONGTAIL_PATIENCE", wrong)
        with pytest.raises(ValueError, match=f"LONGTAIL_PATIENCE is '{wrong}', expected a number above 0"):
            Guard.from_environment()


def test_what_a_foreign_page_can_send_without_asking_is_not_read() -> None:
    for kind in (b"application/json", b"application/json; charset=utf-8", b"Application/JSON;x", b"application/a+json"):
        assert is_json(kind)
    for kind in (
        *(b"", b";", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b"application/jsonp"),
        *(b"text/json", b"text/plain, application/json", b"text/plain; application/json", b"text/plain+json", b"+json"),
        *(b"application/json, text/plain", b"application/json x", b"application/ json", b"json"),
    ):
        assert not is_json(kind)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "LONGTAIL_API_KEY is set, but empty: set it to the key .* or unset it"),
        (" \t", "LONGTAIL_API_KEY is set, but blank"),
        ("secret\n", "LONGTAIL_API_KEY begins or ends with whitespace"),
        (" secret", "LONGTAIL_API_KEY begins or ends with whitespace"),
        ("sec\x07ret", "LONGTAIL_API_KEY .* has a control character"),
    ],
)
def test_a_key_that_no_request_can_have_is_refused(monkeypatch: pytest.MonkeyPatch, key: str, words: str) -> None:
    monkeypatch.setenv("LONGTAIL_API_KEY", key)
    with pytest.raises(ValueError, match=words) as error:
        Guard.from_environment()
    assert "ret" not in str(error.value)  # a key is not printed
    monkeypatch.setenv("LONGTAIL_API_KEY", "a sécret")
    assert Guard.from_environment().key == "a sécret"


def refused(guard: Guard, method: str, *headers: tuple[bytes, bytes], host: bytes | None = b"localhost") -> int | None:
    """Status of what is answered in place of an answer."""
    sent = [*([] if host is None else [(b"host", host)]), *headers]
    refusal = guard.refusal({"method": method, "headers": sent, "server": ("127.0.0.1", 3000)}, dict(sent))
    return None if refusal is None else refusal.status


EVIL, SHOP = (b"origin", b"http://evil.test"), (b"origin", b"https://shop.example")
ASKS, KEY = (b"access-control-request-method", b"POST"), (b"authorization", b"Bearer secret")


def test_a_request_is_refused_for_its_host_then_for_its_page_then_for_its_key() -> None:
    guard = Guard(key="secret", origins=Origins(frozenset({b"https://shop.example"})))
    assert refused(guard, "POST", EVIL, host=b"evil.test") == 421
    assert refused(guard, "GET", KEY, host=b"evil.test") == 421
    assert refused(guard, "GET", KEY, host=None) == 421
    assert refused(guard, "POST", EVIL, KEY) == 403
    assert refused(guard, "POST", (b"sec-fetch-site", b"cross-site"), KEY) == 403
    assert refused(guard, "POST", SHOP) == 401
    assert refused(guard, "GET", EVIL) == 401  # which the page cannot read
    assert [refused(guard, method, KEY) for method in ("GET", "POST", "DELETE")] == [None, None, None]
    assert refused(guard, "POST", SHOP, (b"sec-fetch-site", b"cross-site"), KEY) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY", "post"])
def test_whatever_is_no_plain_question_is_refused_to_other_sites(method: str) -> None:
    assert refused(Guard(), method, EVIL) == 403


def test_a_preflight_is_answered_before_the_key_and_granted_to_named_origins_alone() -> None:
    guard = Guard(key="secret", origins=Origins(frozenset({b"https://shop.example"})))
    assert refused(guard, "OPTIONS", SHOP, ASKS) == 204
    assert refused(guard, "OPTIONS", EVIL, ASKS) == 403
    assert refused(guard, "OPTIONS", (b"origin", b"null"), ASKS) == 403
    assert refused(Guard(), "OPTIONS", SHOP, ASKS) == 403
    assert refused(guard, "OPTIONS", SHOP) == 401  # a plain question


@pytest.mark.parametrize("name", [b"host", b"origin", b"sec-fetch-site", b"authorization", b"content-type"])
@pytest.mark.parametrize("values", [(b"localhost", b"evil.test"), (b"localhost", b"localhost")])
def test_a_header_that_decides_and_is_there_twice_is_refused(name: bytes, values: tuple[bytes, bytes]) -> None:
    assert refused(Guard(), "GET", *((name, value) for value in values), host=None) == 400
    assert refused(Guard(), "GET", (b"accept", values[0]), (b"accept", values[1])) is None


@pytest.mark.parametrize(
    ("headers", "ends"),
    [
        ({}, False),
        ({b"content-length": b"65536"}, False),
        ({b"content-length": b"65537"}, True),
        ({b"transfer-encoding": b"chunked"}, True),
    ],
)
def test_a_refusal_ends_the_connection_on_which_a_long_body_is_under_way(
    headers: dict[bytes, bytes], ends: bool
) -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/feedback",
        "headers": [(b"host", b"evil.test"), *headers.items()],
    }
    asyncio.run(Front(nothing, Guard()).guarded(scope, receive, send))
    assert sent[0]["status"] == 421
    assert ((b"connection", b"close") in sent[0]["headers"]) is ends


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("it was passed on")


def test_a_web_socket_is_closed_before_anything_behind_sees_it() -> None:
    async def receive() -> Message:
        return {"type": "websocket.connect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    for path in ("/feedback", "/livez"):
        asyncio.run(Front(nothing, Guard())({"type": "websocket", "path": path, "headers": headers}, receive, send))
    assert sent == [{"type": "websocket.close"}] * 2


def answered(page: str) -> list[Message]:
    """Return the messages sent for a page that exceeds the time limit or fails, before or after its answer began."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if "begins" in page:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if "fails" in page:
            raise ZeroDivisionError
        await asyncio.sleep(60)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    front = Front(app, Guard(timeout=0.05))
    front.routes = []
    asyncio.run(
        front.guarded(
            {"type": "http", "method": "GET", "path": "/page", "headers": [(b"host", b"localhost")]}, receive, send
        )
    )
    assert front.guard.active == 0
    return sent


@pytest.mark.parametrize(("page", "status"), [("is slow", 503), ("fails", 500)])
def test_a_page_without_an_answer_in_time_is_refused(page: str, status: int) -> None:
    start, body = answered(page)
    assert start["status"] == status
    assert body["type"] == "http.response.body"


@pytest.mark.parametrize("page", ["begins and is slow", "begins and fails"])
def test_an_answer_that_has_begun_does_not_begin_again(page: str) -> None:
    assert [message["type"] for message in answered(page)] == ["http.response.start"]
