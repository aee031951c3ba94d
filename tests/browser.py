"""Chromium for tests that look at pages as people do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests import system


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """A browser without a window; the test is skipped, or under CI=true fails, where there is none."""
    path = system.program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", *arguments],
            env={**os.environ, "TMPDIR": "/tmp"},  # for its socket, whose path may have 107 bytes at most
        )
        try:
            yield browser
        finally:
            browser.close()
