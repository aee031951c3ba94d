"""Feedback to the built Bento, over HTTP."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import requests

from pipelines.bentos import smoke
from pipelines.bentos.smoke import call, post
from tests.judged import ITEM_IDS, USER_IDS

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


def test_readiness_and_metrics_say_that_feedback_works(url: str) -> None:
    post(url, "feedback", {"event_id": "counted", "user_id": "somebody", "item_id": ITEM_IDS[0], "kind": "like"})
    ready = requests.get(f"{url}/readyz", timeout=10)
    assert ready.json() == {"status": "ready", "model": post(url, "model_info", {})["model"], "feedback": "ok"}
    assert requests.get(f"{url}/readyz/feedback", timeout=10).status_code == 200
    lines = requests.get(f"{url}/metrics", timeout=10).text.splitlines()
    assert 'longtail_feedback_up{operation="write"} 1.0' in lines
    assert 'longtail_feedback_up{operation="read"} 1.0' in lines
    assert any(line.startswith('longtail_feedback_events_total{kind="like",outcome="stored"}') for line in lines)


def test_a_database_that_never_answers_costs_fresh_events_and_no_answer(store: Path, tag: str, tmp_path: Path) -> None:
    """It takes connections, as a stopped server's kernel does, and says nothing."""
    home = shutil.copytree(store, tmp_path / "store")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        settings = {"LONGTAIL_FEEDBACK_DB": f"postgresql+psycopg://u:secret@127.0.0.1:{deaf.getsockname()[1]}/events"}
        with smoke.serving(tag, home=home, timeout=60, settings=settings) as url:
            event = {"event_id": "e", "user_id": USER_IDS[0], "item_id": ITEM_IDS[0], "kind": "click"}
            for body in ({"user_id": USER_IDS[0]}, {"user_id": "visitor"}):
                assert post(url, "recommend", body)["items"]
            assert len(post(url, "recommend_batch", {"user_ids": USER_IDS})["answers"]) == len(USER_IDS)
            assert post(url, "explain", {"user_id": USER_IDS[0], "item_id": ITEM_IDS[0]})["parts"]
            refused = call(url, "feedback", event)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
            assert requests.get(f"{url}/livez", timeout=10).status_code == 200
            ready: dict[str, Any] = requests.get(f"{url}/readyz", timeout=10).json()
            assert (ready["status"], ready["feedback"]) == ("ready", "degraded")
            assert ready["reason"].startswith("events cannot be stored: ")
            assert requests.get(f"{url}/readyz/feedback", timeout=10).status_code == 503
            lines = requests.get(f"{url}/metrics", timeout=10).text.splitlines()
            assert 'longtail_feedback_up{operation="write"} 0.0' in lines
            assert 'longtail_feedback_events_total{kind="click",outcome="refused"} 1.0' in lines
        assert "secret" not in (home / "server.log").read_text()
