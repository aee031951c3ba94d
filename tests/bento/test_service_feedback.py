"""Feedback to the built Bento, over HTTP."""

from __future__ import annotations

import pytest

from pipelines._smoke import call, post
from tests.judged import ITEM_IDS

pytestmark = pytest.mark.slow


def test_a_users_events_count_in_the_next_list_without_retraining(url: str) -> None:
    """Somebody nobody knows becomes a user with a history, whose items are not recommended again."""
    assert post(url, "recommend", {"user_id": "visitor", "k": 5})["fallback"] == "unknown_user"
    for number, item in enumerate([30, 2, 38]):
        event = {"event_id": f"visit-{number}", "user_id": "visitor", "item_id": ITEM_IDS[item], "kind": "click"}
        assert post(url, "feedback", event)["stored"] == 1
        assert post(url, "feedback", event)["duplicates"] == 1
    answer = post(url, "recommend", {"user_id": "visitor", "k": 5})
    assert answer["fallback"] is None
    expected = post(url, "recommend_for_items", {"item_ids": [ITEM_IDS[i] for i in (30, 2, 38)], "k": 5})
    assert [item["item_id"] for item in answer["items"]] == [item["item_id"] for item in expected["items"]]


def test_the_same_id_with_another_content_is_a_409(url: str) -> None:
    event = {"event_id": "once", "user_id": "somebody", "item_id": ITEM_IDS[0], "kind": "like"}
    post(url, "feedback", event)
    assert call(url, "feedback", {**event, "kind": "purchase"}).status_code == 409
