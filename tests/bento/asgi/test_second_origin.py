"""Pages of another site in chromium: they store nothing and read nothing, unless their origin is named."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, Request, Route, expect

from pipelines.bentos import smoke
from tests.judged import ITEM_IDS, USER_IDS

pytestmark = pytest.mark.slow


class Site(BaseHTTPRequestHandler):
    """A web site of one empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """Port of another site, whose names are evil.test, friend.test and those of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def home(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(store, tmp_path_factory.mktemp("second") / "store")


@pytest.fixture(scope="module")
def served(home: Path, tag: str, site: int) -> Iterator[str]:
    settings = {"LONGTAIL_CORS_ORIGINS": f"http://friend.test:{site}"}
    with smoke.serving(tag, home=home, timeout=60, settings=settings) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def event(number: int) -> str:
    return json.dumps({"event_id": f"event-{number}", "user_id": "victim", "item_id": ITEM_IDS[3], "kind": "purchase"})


def stored(home: Path) -> list[str]:
    """Ids of events in the store of a server; none where it has not been created."""
    path = home / "longtail-feedback.sqlite"
    if not path.is_file():
        return []
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute("select event_id from longtail_events order by seq")]


def answers(home: Path) -> list[int]:
    """Statuses of all answers of a server, from its access log."""
    lines = (home / "server.log").read_text("utf-8").splitlines()
    return [json.loads(line)["status"] for line in lines if line.startswith("{")]


def await_answers(home: Path, n: int) -> set[int]:
    """Statuses of the answers after the first n, once there are any: the request has arrived."""
    end = time.monotonic() + 20
    while len(found := answers(home)) == n and time.monotonic() < end:
        time.sleep(0.02)
    return set(found[n:])


# each: (address, body) -> whatever the page could read, in the words of the browser where it could not
WRITES = {
    "text": "([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body}).then(r => r.text())",
    "no type": """([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body: new Blob([body])})
        .then(r => r.text())""",
    "bytes": """([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body: new TextEncoder().encode(body)})
        .then(r => r.text())""",
    "type that is not sent": """([url, body]) => fetch(url,
        {method: 'POST', mode: 'no-cors', headers: {'Content-Type': 'application/json'}, body}).then(r => r.text())""",
    "readable text": "([url, body]) => fetch(url, {method: 'POST', body}).then(r => r.text())",
    "json": """([url, body]) => fetch(url,
        {method: 'POST', headers: {'Content-Type': 'application/json'}, body}).then(r => r.text())""",
    "credentials": """([url, body]) => fetch(url, {method: 'POST', credentials: 'include', body})
        .then(r => r.text())""",
    "xhr": """([url, body]) => new Promise((resolve, reject) => {
        const asked = new XMLHttpRequest();
        asked.onload = () => resolve(asked.responseText);
        asked.onerror = () => reject(new Error('no answer'));
        asked.open('POST', url);
        asked.send(new Blob([body]));
    })""",
    "beacon": "([url, body]) => { navigator.sendBeacon(url, new Blob([body])); navigator.sendBeacon(url, body); }",
    "beacon of json": "([url, body]) => { navigator.sendBeacon(url, new Blob([body], {type: 'application/json'})); }",
    "put": "([url, body]) => fetch(url, {method: 'PUT', body}).then(r => r.text())",
    "form": """([url, body]) => new Promise(resolve => {
        const [name, value] = [body.slice(0, -1) + ', "_', '": 0}'];
        const frame = Object.assign(document.createElement('iframe'), {name: 'hidden', onload: () => resolve()});
        const form = Object.assign(document.createElement('form'),
            {method: 'POST', action: url, enctype: 'text/plain', target: 'hidden'});
        form.append(Object.assign(document.createElement('input'), {name, value}));
        document.body.append(frame, form);
        form.submit();
    })""",
    "sandbox": """([url, body]) => new Promise(resolve => {
        const frame = document.createElement('iframe');
        frame.sandbox = 'allow-scripts';
        const told = JSON.stringify([url, body]);
        frame.srcdoc = `<script>(([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body: new Blob([body])})
            .catch(() => 0).finally(() => parent.postMessage('done', '*')))(${told})</script>`;
        addEventListener('message', () => resolve());
        document.body.append(frame);
    })""",
}
READS = {
    "fetch": "url => fetch(url).then(r => r.text())",
    "opaque": "url => fetch(url, {mode: 'no-cors'}).then(r => r.text())",
    "with credentials": "url => fetch(url, {credentials: 'include'}).then(r => r.text())",
    "frame": """url => new Promise(resolve => {
        const frame = Object.assign(document.createElement('iframe'), {src: url});
        frame.onload = () => { try { resolve(frame.contentDocument.body.textContent) } catch { resolve('') } };
        document.body.append(frame);
    })""",
    "script": """url => new Promise(resolve => {
        const script = Object.assign(document.createElement('script'), {src: url});
        script.onload = () => resolve('loaded');
        script.onerror = () => resolve('');
        document.body.append(script);
    })""",
}


def result(page: Page, script: str, argument: Any) -> str:
    """Return the result of a script of the page; empty if the browser blocks it."""
    caught = f"argument => Promise.resolve(argument).then({script}).catch(() => '')"
    return str(page.evaluate(caught, argument) or "")


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1", "localhost"])
def test_a_page_of_another_site_stores_nothing(page: Page, served: str, home: Path, site: int, host: str) -> None:
    before, history = stored(home), requests.get(f"{served}/history?user_id=victim", timeout=10).json()
    for name, script in WRITES.items():
        for path in ("feedback", "recommend", "lookup"):
            page.goto(f"http://{host}:{site}/")
            n_answers = len(answers(home))
            assert result(page, script, [f"{served}/{path}", event(0)]) == "", (name, path)
            assert await_answers(home, n_answers) == {403}, (name, path)
    assert stored(home) == before
    assert requests.get(f"{served}/history?user_id=victim", timeout=10).json() == history


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1"])
def test_a_page_of_another_site_reads_nothing(page: Page, served: str, site: int, host: str) -> None:
    for name, script in READS.items():
        for path in (f"history?user_id={USER_IDS[0]}", "users", "docs.json", ""):
            page.goto(f"http://{host}:{site}/")
            assert result(page, script, f"{served}/{path}") == "", (name, path)


def test_a_name_that_is_pointed_at_the_server_reads_and_stores_nothing(page: Page, served: str, home: Path) -> None:
    """DNS rebinding: to the browser, the page and the service have one origin."""
    before, port = stored(home), served.rpartition(":")[2]
    rebound = f"http://rebound.test:{port}"
    answer = page.goto(f"{rebound}/history?user_id={USER_IDS[0]}")
    assert answer is not None
    assert answer.status == 421
    assert "LONGTAIL_HOSTS" in answer.json()["error"]
    for path in (f"/history?user_id={USER_IDS[0]}", "/users", "/docs.json", "/metrics", "/"):
        assert ITEM_IDS[0] not in result(page, READS["fetch"], path)
        assert "LONGTAIL_HOSTS" in result(page, READS["fetch"], path)
    for body in (event(0), event(1)):
        assert "LONGTAIL_HOSTS" in result(page, WRITES["json"], ["/feedback", body])
    assert stored(home) == before


def test_a_named_origin_reads_and_writes_and_its_mistakes_are_told(
    page: Page, served: str, home: Path, site: int
) -> None:
    page.goto(f"http://friend.test:{site}/")
    assert json.loads(result(page, READS["fetch"], f"{served}/history?user_id={USER_IDS[0]}"))["items"]
    assert json.loads(result(page, WRITES["json"], [f"{served}/feedback", event(100)]))["stored"] == 1
    assert "event-100" in stored(home)
    assert "application/json" in result(page, WRITES["readable text"], [f"{served}/feedback", event(101)])
    assert "event-101" not in stored(home)


def test_the_service_s_own_page_writes(page: Page, served: str, home: Path) -> None:
    """The same script as of the other sites, so that what they cannot do is theirs, not the script's fault."""
    page.goto(served)
    assert json.loads(result(page, WRITES["json"], ["/feedback", event(200)]))["stored"] == 1
    assert "event-200" in stored(home)


@pytest.mark.parametrize("path", ["", "docs"])
def test_the_pages_ask_no_other_server(browser: Browser, served: str, path: str) -> None:
    problems: list[str] = []
    elsewhere: list[str] = []

    def keep(route: Route, request: Request) -> None:
        if request.url.startswith((served, "data:")):
            route.continue_()
        else:
            elsewhere.append(request.url)
            route.abort()

    with browser.new_context() as context:
        context.route("**/*", keep)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{served}/{path}")
        if path == "docs":
            try_recommend(page)
        else:
            expect(page.locator("#list > li")).to_have_count(10)
        page.wait_for_load_state("networkidle")
    assert elsewhere == []
    assert problems == []  # such as what the Content-Security-Policy refuses


def try_recommend(page: Page) -> None:
    """Send a request from the page about the endpoints, as people do."""
    operation = page.locator("#operations-Recommend-recommend")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("textarea").fill(json.dumps({"user_id": USER_IDS[0], "k": 3}))
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    expect(operation.locator(".live-responses-table")).to_contain_text('"fallback": null')


@pytest.mark.parametrize("path", ["", "explorer/explorer.js", "docs", "docs/swagger-ui.css"])
def test_a_page_and_its_files_allow_nothing_but_files_of_this_server(served: str, path: str) -> None:
    answer = requests.get(f"{served}/{path}", timeout=10)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy.replace(
        "; style-src-attr 'unsafe-inline'", "" if path.startswith("docs") else "unsafe"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
