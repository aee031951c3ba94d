"""The lists of the explorer page: tail emphasis, filters, similar items, and the plot of popularity."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from pipelines.bentos.smoke import post
from tests.judged import USER_IDS

pytestmark = pytest.mark.slow


def titles(page: Page, of: str) -> list[str]:
    return page.locator(f"#{of} .title").all_text_contents()


def test_moving_the_slider_changes_the_list_at_once_and_says_what_moved(page: Page, url: str) -> None:
    expect(page.locator("#tail-value")).to_contain_text("the setting that the release gate judged")
    slider = page.get_by_label("Tail emphasis")
    slider.focus()
    page.keyboard.press("End")
    expect(page.locator("#tail-value")).to_have_text("100 % towards the tail")
    released = [item["item_id"] for item in post(url, "recommend", {"user_id": USER_IDS[0], "k": 10})["items"]]
    expected = post(url, "recommend", {"user_id": USER_IDS[0], "k": 10, "tail": 1.0})["items"]
    expect(page.locator("#list .title")).to_have_text([item["title"] for item in expected])
    moves = [move(released, item["item_id"], place) for place, item in enumerate(expected)]
    assert page.locator("#list .move").all_text_contents() == moves
    assert any(text.startswith(("+ new", "↑ up", "↓ down")) for text in moves)
    expect(page.locator("#status")).to_contain_text("Compared with the released setting: ")
    page.get_by_role("button", name="Back to the released setting").click()
    expect(page.locator("#list .move")).to_have_count(0)
    assert titles(page, "list") == [item["title"] for item in post(url, "recommend", {"user_id": USER_IDS[0]})["items"]]


def move(released: list[str], item_id: str, place: int) -> str:
    if item_id not in released:
        return "+ new"
    up = released.index(item_id) - place
    return "= same place" if up == 0 else f"↑ up {up}" if up > 0 else f"↓ down {-up}"


def test_the_slider_without_a_user_says_what_it_needs(page: Page) -> None:
    page.get_by_label("User id").fill("")
    page.get_by_label("Tail emphasis").focus()
    page.keyboard.press("End")
    expect(page.locator("#status")).to_have_text(re.compile("^Choose a user .* The tail emphasis"))
    page.get_by_label("User id").fill("nobody")
    page.get_by_role("button", name="Recommend").click()
    expect(page.locator("#status")).to_contain_text("does not change the list of an unknown user")


def test_filters_keep_the_items_with_a_value(page: Page, url: str) -> None:
    page.locator("#filter-words").click()
    page.get_by_label("segment").select_option("head")
    expected = post(url, "recommend", {"user_id": USER_IDS[0], "k": 10, "where": {"segment": "head"}})["items"]
    expect(page.locator("#list .title")).to_have_text([item["title"] for item in expected])
    expect(page.locator("#filter-words")).to_have_text("Filters: segment is head")
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#list > li")).to_have_count(10)
    expect(page.locator("#filter-words")).to_be_focused()


def test_one_click_shows_items_similar_to_any_item(page: Page, url: str) -> None:
    for of in ("list", "history"):
        title = titles(page, of)[1]
        item_id = identified(page, of, 1)
        page.get_by_label(f"Items similar to {title}", exact=True).last.click()
        expected = post(url, "similar_items", {"item_id": item_id, "k": 5})["items"]
        found = page.locator(f"#{of} > li").nth(1).locator(".similar li")
        expect(found).to_have_count(5)
        assert [expected[n]["title"] in (found.nth(n).text_content() or "") for n in range(5)] == [True] * 5


def identified(page: Page, of: str, row: int) -> str:
    return page.locator(f"#{of} > li").nth(row).locator(".facts span").first.text_content() or ""


@pytest.mark.parametrize("width", [1280, 400])
def test_ten_cold_items_can_be_told_apart_in_their_lane(browser: Browser, url: str, width: int) -> None:
    about = {"segment": "cold", "popularity": 0, "score": 0.5}
    items = [{"item_id": f"c{n}", "title": f"cold {n}", **about} for n in range(10)]
    items.append({"item_id": "t", "title": "tail", "segment": "tail", "popularity": 1, "score": 0.4})
    answer = {"model": "longtail:played", "fallback": None, "items": items}
    with browser.new_context(viewport={"width": width, "height": 800}) as context:
        page = context.new_page()
        page.route("**/recommend", lambda route: route.fulfill(json=answer))
        page.goto(url)
        expect(page.locator("#plot .mark.cold")).to_have_count(10)
        boxes = [mark.bounding_box() for mark in page.locator("#plot .mark").all()]
        frame = page.locator("#plot").bounding_box()
    assert frame is not None
    placed = [(box["x"] - frame["x"], box["y"] - frame["y"], box["width"], box["height"]) for box in boxes if box]
    cold = placed[-11:-1]
    assert all(apart(one, other) for n, one in enumerate(cold) for other in cold[:n])
    assert min(min(x, y) for x, y, _, _ in placed) >= 0
    assert all(x + w <= frame["width"] and y + h <= frame["height"] for x, y, w, h in placed)
    assert max(x + w for x, _, w, _ in cold) < placed[-1][0]  # one user is right of the lane


def apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    (x, y, w, h), (x2, y2, w2, h2) = one, other
    return x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
