"""The explorer page, opened in chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

LAPTOP = {"width": 1280, "height": 900}


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page on a laptop; whatever the browser complains about fails the test."""
    with browser.new_context(viewport=LAPTOP) as context:  # type: ignore[arg-type]
        opened = context.new_page()
        problems: list[str] = []
        opened.on("console", lambda message: problems.append(message.text) if is_problem(message) else None)
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("dialog", lambda dialog: problems.append(f"a script ran: {dialog.message}"))
        opened.goto(url)
        expect(opened.locator("#list > li")).to_have_count(10)
        yield opened
        assert problems == []


def is_problem(message: ConsoleMessage) -> bool:
    return message.type == "error" and "Failed to load resource" not in message.text  # statuses are said on the page
