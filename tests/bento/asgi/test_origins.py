"""Pages that may send requests which write."""

from __future__ import annotations

import pytest

from bento.asgi.origins import Origins, is_preflight


def admitted(origin: str | None, site: str | None = None, host: str = "localhost:3000", *named: str) -> bool:
    headers = {b"host": host.encode()}
    headers |= {} if origin is None else {b"origin": origin.encode()}
    headers |= {} if site is None else {b"sec-fetch-site": site.encode()}
    return Origins(frozenset(each.encode() for each in named)).admit(headers)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:3000", "localhost:3000"),
        ("https://localhost:3000", "localhost:3000"),  # a proxy has put TLS before it
        ("http://shop.example", "shop.example"),
        ("http://shop.example", "SHOP.example:80"),
        ("https://shop.example", "shop.example:443"),
        ("http://[::1]:3000", "[::1]:3000"),
    ],
)
def test_a_page_of_the_service_itself_may_write(origin: str, host: str) -> None:
    assert admitted(origin, None, host)
    assert admitted(origin, "same-origin", host)
    assert not admitted(origin, "cross-site", host)


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", "http://evil.test", "http://localhost", "http://localhost:3001", "http://localhost:30000"),
        *("http://localhost:3000.evil.test", "http://evil.test@localhost:3000", "localhost:3000", "//localhost:3000"),
        *("ftp://localhost:3000", "file://localhost:3000", "http://localhost:3000/", "http://127.0.0.1:3000"),
        "http://localhost:3000, http://evil.test",
    ],
)
def test_a_page_of_another_origin_may_not_write_whatever_else_the_browser_says(origin: str) -> None:
    assert not any(admitted(origin, site) for site in (None, "same-origin", "none", "cross-site"))


@pytest.mark.parametrize(
    ("site", "expected"),
    [("same-origin", True), ("none", True), (None, True), ("same-site", False), ("cross-site", False), ("new", False)],
)
def test_what_a_browser_says_of_the_site_counts_without_an_origin(site: str | None, expected: bool) -> None:
    assert admitted(None, site) is expected


def test_a_named_origin_may_write_and_no_other_one() -> None:
    assert admitted("https://shop.example", "cross-site", "localhost", "https://shop.example")
    for other in ("http://shop.example", "https://shop.example:8443", "https://a.shop.example", "null"):
        assert not admitted(other, "cross-site", "localhost", "https://shop.example")


def test_named_origins_are_read_as_browsers_send_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_CORS_ORIGINS", "HTTPS://Shop.example:443, http://localhost:8080,")
    assert Origins.from_environment().named == {b"https://shop.example", b"http://localhost:8080"}
    monkeypatch.delenv("LONGTAIL_CORS_ORIGINS")
    assert Origins.from_environment() == Origins()


@pytest.mark.parametrize("entry", ["*", "null", "shop.example", "https://shop.example/", "https://*.example", "ws://a"])
def test_an_entry_that_is_not_an_exact_origin_is_quoted(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("LONGTAIL_CORS_ORIGINS", f"https://shop.example,{entry}")
    with pytest.raises(ValueError, match=r"LONGTAIL_CORS_ORIGINS has the entry .*expected origins such as") as error:
        Origins.from_environment()
    assert repr(entry) in str(error.value)


def test_answers_name_the_origin_that_may_read_them_and_no_other_one() -> None:
    def answered(origin: bytes, *named: bytes) -> dict[bytes, bytes]:
        return dict(Origins(frozenset(named)).answer_to({"headers": [(b"origin", origin)]}))

    assert answered(b"https://a.test") == {}
    assert answered(b"https://a.test", b"https://b.test") == {b"vary": b"Origin"}  # for caches
    assert answered(b"https://b.test", b"https://b.test")[b"access-control-allow-origin"] == b"https://b.test"


def test_only_a_browser_s_question_is_a_preflight() -> None:
    asked = {b"origin": b"https://a.test", b"access-control-request-method": b"POST"}
    assert is_preflight("OPTIONS", asked)
    assert not is_preflight("POST", asked)
    assert not is_preflight("OPTIONS", {b"origin": b"https://a.test"})
