"""The explorer page in chromium, and what it asks the service for."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from pipelines.bentos.smoke import call, post
from tests import judged
from tests.conftest import SCREENSHOTS
from tests.judged import ITEM_IDS, USER_IDS

pytestmark = pytest.mark.slow
LAPTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def get(url: str, path: str, **query: str) -> Any:
    response = requests.get(f"{url}/{path}", params=query, timeout=10)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_page_allows_no_script_but_its_own_and_no_other_host(url: str) -> None:
    response = requests.get(url, timeout=10)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("explorer/explorer.js", "explorer/explorer.css"):
        answer = requests.get(f"{url}/{path}", timeout=10)
        assert answer.status_code == 200
        assert "//" not in answer.text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")  # no CDN
        again = requests.get(f"{url}/{path}", headers={"If-None-Match": answer.headers["ETag"]}, timeout=10)
        assert again.status_code == 304


@pytest.mark.parametrize(
    "path", ["explorer/../service.py", "explorer/%2e%2e/service.py", "explorer/", "explorer/none.js"]
)
def test_nothing_but_the_page_is_read_from_the_disk(url: str, path: str) -> None:
    request = requests.Request("GET", url).prepare()
    request.url = f"{url}/{path}"
    assert requests.Session().send(request, timeout=10).status_code == 404


def test_items_are_found_by_title_and_looked_up_by_id(url: str) -> None:
    found = get(url, "items", query="TITLE 3")["items"]
    assert [item["item_id"] for item in found] == [ITEM_IDS[i] for i in (3, *range(30, 40))]
    assert found[0] == {"item_id": "i003", "title": judged.title(3), "segment": "head", "popularity": 33}
    assert post(url, "lookup", {"item_ids": ["i003"]})["items"] == found[:1]
    missing = call(url, "lookup", {"item_ids": ["i003", "nope"]})
    assert (missing.status_code, "'nope'" in missing.text) == (404, True)
    assert call(url, "lookup", {"item_ids": "i003"}).status_code == 400


def test_users_are_found_by_the_beginning_of_their_id(url: str) -> None:
    assert get(url, "users")["users"] == USER_IDS
    assert get(url, "users", query="u1")["users"] == ["u1"]
    assert get(url, "users", query="zzz")["users"] == []


def test_columns_name_their_most_frequent_values_first(url: str) -> None:
    columns = {column["name"]: column for column in get(url, "columns")["columns"]}
    segments = [items_table_segment(i) for i in range(judged.N_ITEMS)]
    expected = sorted(set(segments), key=lambda name: -segments.count(name))
    assert columns["segment"] == {
        "name": "segment", "n_values": 3, "values": [{"value": v, "items": segments.count(v)} for v in expected],
    }  # fmt: skip


def items_table_segment(i: int) -> str:
    return "head" if i in judged.HEAD else "cold" if i in judged.COLD else "tail"


def test_a_history_lists_all_that_a_user_has_touched(url: str) -> None:
    answer = get(url, "history", user_id=USER_IDS[0])
    assert {item["item_id"] for item in answer["items"]} == {ITEM_IDS[i] for i in judged.history(0)}
    assert answer["n_items"] == len(judged.history(0))
    assert get(url, "history", user_id="nobody")["items"] == []
    assert requests.get(f"{url}/history", timeout=10).status_code == 400


def titles(page: Page, of: str) -> list[str]:
    return page.locator(f"#{of} .title").all_text_contents()


def test_history_stands_beside_recommendations_with_badges_in_words(page: Page, url: str) -> None:
    answer = post(url, "recommend", {"user_id": USER_IDS[0], "k": 10})
    assert titles(page, "list") == [item["title"] for item in answer["items"]]
    badges = page.locator("#list .badge").all_text_contents()
    assert [badge.split()[1] for badge in badges] == [item["segment"] for item in answer["items"]]
    assert sorted(titles(page, "history")) == sorted(judged.title(i) for i in judged.history(0))
    assert page.locator("#plot .mark").count() == 10 + len(judged.history(0))
    expect(page.locator("#model")).to_contain_text(answer["model"])


def test_titles_that_look_like_markup_stay_text(page: Page) -> None:
    assert page.locator("main img").count() == 0
    assert "<img src=x onerror=alert(1)> &amp;" in titles(page, "list")[0]


def test_a_why_names_items_of_the_history(page: Page) -> None:
    page.locator("#list summary").first.click()
    reasons = page.locator("#list .why dt")
    expect(reasons.first).to_be_visible()
    named = {text.strip("“”") for text in reasons.all_text_contents() if not text.endswith("together")}
    assert named <= {judged.title(i) for i in judged.history(0)}
    assert named


def test_it_works_by_keyboard_alone(page: Page, url: str) -> None:
    page.locator("input[value=user]").focus()
    page.keyboard.press("ArrowRight")  # favourite items
    page.get_by_label("Search titles").focus()
    page.keyboard.type("title 7")
    expect(page.locator("#found button")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#favourites button")).to_have_count(1)
    page.keyboard.type("i030, i031")
    page.keyboard.press("Enter")
    expect(page.locator("#favourites button")).to_have_count(3)
    expected = post(url, "recommend_for_items", {"item_ids": ["i007", "i030", "i031"], "k": 10})
    expect(page.locator("#list .title").first).to_have_text(expected["items"][0]["title"])
    assert titles(page, "list") == [item["title"] for item in expected["items"]]
    page.keyboard.type("i030 nope,")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("lacks 'nope'")


def test_an_unknown_user_is_told_so(page: Page) -> None:
    page.get_by_label("User id").fill("<b>nobody</b>")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#list-words")).to_contain_text("Unknown user")
    expect(page.locator("#history-words")).to_have_text("This user has no history.")


def test_the_comparison_shows_what_the_previous_version_answers(browser: Browser, url: str, tag: str) -> None:
    """The answers of the version before are played here; how it is started is `longtail serve --compare`."""
    items = post(url, "recommend", {"user_id": USER_IDS[0], "k": 10})["items"][2:]
    before = {"model": "longtail:before", "fallback": None, "items": items}
    with browser.new_context(viewport=LAPTOP) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.route("**/previous", lambda route: route.fulfill(json={"available": True}))
        page.route("**/previous/recommend", lambda route: route.fulfill(json=before))
        page.goto(url)
        page.get_by_label("compare with the previous version").check()
        expect(page.locator("#previous > li")).to_have_count(8)
        expect(page.locator("#previous-words")).to_contain_text("longtail:before: 8 of 8 are in both lists")
    assert get(url, "previous") == {"available": False}
    assert call(url, "previous/recommend", {"user_id": "u1"}).status_code == 404


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, url: str, scheme: Any) -> None:
    context = browser.new_context(viewport=PHONE, device_scale_factor=2, has_touch=True, color_scheme=scheme)  # type: ignore[arg-type]
    with context:
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#list > li")).to_have_count(10)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        small = page.evaluate(
            """[...document.querySelectorAll('button, select, input:not([type=radio], [type=checkbox])')]
               .filter(e => e.offsetParent && e.getBoundingClientRect().height < 40).length"""
        )
        assert small == 0  # what a finger has to hit
        page.screenshot(path=SCREENSHOTS / f"explorer-phone-{scheme}.png", full_page=True)
        plot = page.locator("#plot")
        narrow = plot.get_attribute("viewBox")
        page.set_viewport_size({"width": 1280, "height": 900})
        expect(plot).not_to_have_attribute("viewBox", str(narrow))  # it is drawn anew
        page.screenshot(path=SCREENSHOTS / f"explorer-{scheme}.png", full_page=True)


def test_a_server_that_went_away_is_said_in_words(browser: Browser, url: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#list > li")).to_have_count(10)
        context.set_offline(True)
        page.get_by_role("button", name="Recommend").click()
        expect(page.locator("#status")).to_have_text("The server does not answer. Is it running?")


def test_the_openapi_document_describes_what_the_page_asks(url: str) -> None:
    document = requests.get(f"{url}/docs.json", timeout=10).json()
    paths = json.dumps(document["paths"])
    assert all(f'"/{name}"' in paths for name in ("items", "users", "history", "lookup", "feedback"))
