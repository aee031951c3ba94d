"""Somebody who never saw the repository: signs in, fills the form, triggers, waits, reads the report. Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser import chromium
from tests.conftest import SCREENSHOTS
from tests.dags.standalone import TRAIN, Airflow

pytestmark = pytest.mark.slow  # after test_airflow.py, whose Airflow it uses, it finds every stage cached


@pytest.fixture
def page(airflow: Airflow) -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, locale="en-US")
        page.set_default_timeout(120_000)
        yield page


def shot(page: Page, name: str) -> Path:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"airflow-{name}.png"
    page.screenshot(path=path)
    return path


def test_a_run_is_triggered_from_the_form_and_its_report_read_in_the_tab(airflow: Airflow, page: Page) -> None:
    page.goto(f"{airflow.url}/dags/{TRAIN}")
    page.get_by_label("Username").fill(airflow.user)
    page.get_by_label("Password").fill(airflow.password)
    shot(page, "1-sign-in")
    page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()

    page.get_by_role("button", name="Trigger", exact=False).first.click()
    page.get_by_text("Tail share").first.wait_for()
    page.locator("[name='element_tail_share']").fill("0.2")
    page.locator("[name='element_note']").fill("from the browser")
    shot(page, "2-form")
    runs = airflow.get(f"dags/{TRAIN}/dagRuns?limit=1")["total_entries"]
    page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()

    run_id = airflow.latest(TRAIN, after=runs)
    page.goto(f"{airflow.url}/dags/{TRAIN}/runs/{run_id}")
    page.get_by_text("prepare").first.wait_for()
    shot(page, "3-running")
    run = airflow.finish(TRAIN, run_id)
    assert run["conf"]["tail_share"] == 0.2
    verdict, _, note = run["note"].partition("\n\n")
    assert note == "from the browser"

    page.reload()
    page.get_by_role("link", name="Gate report").click()
    report = page.frame_locator("iframe")
    report.get_by_text(verdict.split(":")[0]).first.wait_for()
    assert report.get_by_text("beats popularity").first.is_visible()
    shot(page, "4-gate-report")
    page.goto(f"{airflow.url}/dags/{TRAIN}/runs/{run_id}")
    page.get_by_text(f"{verdict.split(':')[0]}: ").first.wait_for()  # the page shows the first line of a note
    shot(page, "5-run")
