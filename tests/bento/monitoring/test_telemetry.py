"""Metrics, exposure and access log of the built Bento."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from bento.monitoring.telemetry import first, labels
from pipelines.bentos.smoke import call, post
from tests.judged import ITEM_IDS, N_USERS, USER_IDS


def metrics(url: str) -> dict[tuple[str, str], float]:
    """(name, labels as JSON) -> value."""
    text = requests.get(f"{url}/metrics", timeout=10).text
    return {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: dict[tuple[str, str], float], name: str, **labels: str) -> float:
    return found.get((name, json.dumps(labels, sort_keys=True)), 0.0)


def test_endpoints_have_few_names_whatever_is_asked() -> None:
    label = labels(["/recommend", "/", "/explorer/ask.js", "/previous/{endpoint}"])
    assert [label(path) for path in ("/recommend", "/", "/explorer/ask.js", "/previous/recommend")] == [
        *("recommend", "explorer", "explorer", "previous")
    ]
    assert label("/my%20secret/recommend") == label("//") == label("/items") == "other"


@pytest.mark.slow
def test_requests_lists_and_items_are_counted(url: str) -> None:
    before = metrics(url)
    answer = post(url, "recommend", {"user_id": USER_IDS[0], "k": 10})
    post(url, "recommend", {"user_id": "nobody at all", "k": 5})
    post(url, "recommend_for_items", {"item_ids": ITEM_IDS[:2], "k": 5})
    call(url, "recommend", {"user_id": 7})
    requests.get(f"{url}/what is this", timeout=10)
    routes = (
        "",
        "docs",
        "docs.json",
        "exposure",
        "explorer/explorer.js",
        "items",
        "metrics",
        "previous",
        "readyz",
        "users",
    )
    for path in routes:
        requests.get(f"{url}/{path}", timeout=10)
    after = metrics(url)
    counted = {json.loads(labels).get("endpoint") for name, labels in after if name == "longtail_requests_total"}
    assert {first(f"/{path}") for path in routes if path != "readyz"} <= counted

    def gained(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert gained("longtail_requests_total", endpoint="recommend", status="200") == 2
    assert gained("longtail_requests_total", endpoint="recommend", status="400") == 1
    assert gained("longtail_requests_total", endpoint="other", status="404") == 1
    assert gained("longtail_request_seconds_count", endpoint="recommend") == 3
    assert gained("longtail_lists_total", endpoint="recommend", fallback="none") == 1
    assert gained("longtail_lists_total", endpoint="recommend", fallback="unknown_user") == 1
    assert gained("longtail_lists_total", endpoint="recommend_for_items", fallback="none") == 1
    segments = [item["segment"] for item in answer["items"]]
    assert gained("longtail_recommended_items_total", segment="cold") >= segments.count("cold")
    assert sum(gained("longtail_recommended_items_total", segment=s) for s in ("head", "tail", "cold")) == 20
    assert not any("secret" in labels or "what is" in labels for _, labels in after)


@pytest.mark.slow
def test_what_is_served_stands_beside_what_the_gate_found(url: str, tag: str) -> None:
    post(url, "recommend", {"user_id": USER_IDS[1], "k": 10})
    found, exposure = metrics(url), requests.get(f"{url}/exposure", timeout=10).json()
    assert exposure["gate"] == {"k": 10, "lists": N_USERS, "tail_share": 0.2, "tail_coverage": 0.5}
    assert value(found, "longtail_gate_tail_coverage") == 0.5
    assert value(found, "longtail_window_lists") == exposure["window"]["lists"] > 0
    assert value(found, "longtail_tail_exposure_share") == pytest.approx(exposure["window"]["tail_share"])
    assert value(found, "longtail_model_info", model=tag, version="", verdict="PROMOTE") == 1


@pytest.mark.slow
def test_lists_that_people_try_out_are_no_exposure(url: str) -> None:
    before = requests.get(f"{url}/exposure", timeout=10).json()["window"]["lists"]
    for purpose in ("explore", "else"):
        headers = {"X-Longtail-Purpose": purpose}
        requests.post(f"{url}/recommend", json={"user_id": USER_IDS[0]}, headers=headers, timeout=10)
    assert requests.get(f"{url}/exposure", timeout=10).json()["window"]["lists"] == before + 1


@pytest.mark.slow
def test_the_access_log_is_json_without_anything_that_was_typed(url: str, store: Path) -> None:
    post(url, "recommend", {"user_id": "typed-by-somebody"})
    requests.get(f"{url}/items?query=typed-by-somebody", timeout=10)
    requests.get(f"{url}/typed-by-somebody", timeout=10)
    log = (store / "server.log").read_text("utf-8")
    assert "typed-by-somebody" not in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {"recommend", "items", "other"} <= {line["endpoint"] for line in lines}
    assert set(lines[-1]) == {"time", "method", "endpoint", "status", "ms", "model"}
