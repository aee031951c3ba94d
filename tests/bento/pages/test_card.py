"""The pages with the model card and the report of the gate, on a server of a released version and on one without."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect

from bento.pages import card
from pipelines.bentos import smoke
from pipelines.bentos.smoke import post

pytestmark = pytest.mark.slow
REPORT = "<!doctype html><title>A report</title><p style='color: red'>PROMOTE"


@pytest.fixture(scope="module")
def released(store: Path, tag: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that runs as `longtail serve` starts it."""
    home = shutil.copytree(store, tmp_path_factory.mktemp("released") / "store")
    report = home / "report.html"
    report.write_text(REPORT, "utf-8")
    settings = {"LONGTAIL_VERSION": "v1.2.3", "LONGTAIL_REPORT": str(report)}
    with smoke.serving(tag, home=home, timeout=60, settings=settings) as address:
        yield address


def test_the_version_is_beside_the_tag_on_the_page_in_the_model_and_in_the_metrics(
    browser: Browser, released: str, url: str, tag: str
) -> None:
    assert post(released, "model_info", {})["version"] == "v1.2.3"
    assert post(url, "model_info", {})["version"] is None
    assert (
        f'longtail_model_info{{model="{tag}",verdict="PROMOTE",version="v1.2.3"}} 1.0' in get(released, "metrics").text
    )
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(released)
        expect(page.locator("#model strong")).to_have_text("v1.2.3")
        expect(page.locator("#status")).to_contain_text(f"items from v1.2.3 ({tag})")
        page.goto(url)
        expect(page.locator("#model strong")).to_have_text(tag)


def test_the_explorer_leads_to_the_card_and_the_report(browser: Browser, released: str, tag: str) -> None:
    with browser.new_context(viewport={"width": 400, "height": 800}) as context:
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(released)
        page.get_by_role("link", name="Model card").click()
        expect(page.locator("h1")).to_have_text(tag)
        expect(page.locator("th", has_text="ndcg@10")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.get_by_role("link", name="Report of the gate").click()
        expect(page).to_have_title("A report")
        assert page.locator("p").evaluate("element => getComputedStyle(element).color") == "rgb(255, 0, 0)"
        assert problems == []


def test_a_server_without_the_report_names_the_command_that_copies_it(url: str) -> None:
    answer = get(url, "report")
    assert answer.status_code == 404
    assert "dvc get . data/gate/report.html --rev longtail@VERSION" in answer.text


def test_the_report_may_run_no_script(released: str) -> None:
    policy = get(released, "report").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "script-src" not in policy


def test_markup_in_a_card_stays_text() -> None:
    found = card.rendered("| a | b |\n|---|--:|\n| <script>alert(1)</script> | [x](javascript:alert(1)) |\n")
    assert "<script" not in found
    assert 'href="javascript' not in found
    assert "style=" not in found


def get(url: str, path: str) -> requests.Response:
    return requests.get(f"{url}/{path}", timeout=10)
