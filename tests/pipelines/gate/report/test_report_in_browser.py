"""The gate report in a real browser, from disk: on a laptop, on a telephone, on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.conftest import SCREENSHOTS

pytestmark = [pytest.mark.slow, pytest.mark.drawn]


@pytest.fixture
def report(judged_once: Path) -> Path:
    return judged_once / "data" / "gate" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_from_disk_without_requests_or_errors_and_nothing_sticks_out(
    browser: Any, report: Path, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, java_script_enabled=True)
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(report.as_uri())
    assert requests == [report.as_uri()]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('.lists li').forEach(item => item.textContent += ' and so on'.repeat(9))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.reload()
    requests.pop()
    assert page.locator("h1").inner_text() in ("PROMOTE", "HOLD", "REJECT")
    assert page.locator("figure svg").count() == 4
    assert page.locator(".user").count() == 5
    assert page.locator(".user").first.is_visible()
    path = SCREENSHOTS / f"report-{width}.png"
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 50_000
    page.close()


def test_it_prints_on_a_few_pages_and_no_user_is_torn_apart(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    printed = page.pdf(format="A4", print_background=True, margin={"top": "12mm", "bottom": "12mm"})
    assert 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 8
    page.emulate_media(media="print")
    broken = page.evaluate("getComputedStyle(document.querySelector('.user')).breakInside")
    assert broken == "avoid"
    assert page.evaluate("getComputedStyle(document.querySelector('.lists li')).whiteSpace") == "normal"
    page.close()
