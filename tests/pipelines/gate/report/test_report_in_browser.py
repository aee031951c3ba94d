"""The gate report in a real browser, from disk: on a laptop, on a telephone, on paper."""

from __future__ import annotations

import re
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


def test_every_entry_of_the_contents_leads_to_its_heading(browser: Any, report: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(report.as_uri())
    for link in page.locator("nav a").all():
        link.press("Enter")
        heading = page.locator("h2:target")
        assert heading.inner_text() == link.inner_text()
        page.wait_for_function("document.querySelector('h2:target').getBoundingClientRect().top < innerHeight")
    assert page.locator("nav a").all_inner_texts() == page.locator("h2").all_inner_texts()
    page.close()


def test_at_night_it_is_dark_and_on_paper_it_is_light(browser: Any, report: Path) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme="dark")
    page.goto(report.as_uri())
    assert brightness(page, "background-color") < 60 < 180 < brightness(page, "color")
    page.screenshot(path=SCREENSHOTS / "report-dark.png", full_page=True)
    page.emulate_media(media="print")
    assert brightness(page, "background-color") > 180 > 60 > brightness(page, "color")
    page.close()


def brightness(page: Any, name: str) -> float:
    """Mean of red, green and blue of the page's text or background, 0 to 255."""
    colour = page.evaluate(f"getComputedStyle(document.body).getPropertyValue('{name}')")
    red, green, blue, *_ = map(float, re.findall(r"[\d.]+", colour))
    return (red + green + blue) / 3


def test_wide_tables_scroll_in_boxes_that_the_keyboard_reaches(browser: Any, report: Path) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto(report.as_uri())
    box = page.get_by_role("region", name="Metrics")
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("box => box.scrollLeft > 0", arg=box.element_handle())
    page.close()
