"""The loop closes: what is served is clicked, exported, trained on, judged, promoted and served, without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from pipelines.bentos.smoke import post
from pipelines.ingest.sources import demo
from pipelines.settings.ingest import Demo
from tests.clones import Clone
from tests.pipelines.served_versions import Load, Serving
from tests.test_pipeline import TINY

pytestmark = pytest.mark.slow

DEMO = {"users": 500, "items": 400, "events": 15_000, "new_items": 20, "dirty_rows": 0, "seed": 42}
NEWCOMERS = [f"newcomer-{number}" for number in range(20)]
TABLE: dict[str, Any] = {
    "source": "table",
    "table.interactions": ["interactions.csv", "feedback-*.parquet"],
    "table.columns": {"user_id": "user_id", "item_id": "item_id", "value": "value", "timestamp": "timestamp"},
    "table.items": ["items.csv"],
    "table.text": "{title}. {description}",
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose source is two files of its own, with a first version promoted."""
    clone = Clone(tmp_path_factory.mktemp("loop") / "longtail")
    demo.write(Demo.model_validate(DEMO), clone.root / "data/raw")
    clone.params({"ingest": TABLE, "train": TINY["train"]})
    printed = clone.longtail("run")
    assert "v1.0.0 serves now" in printed, printed
    return clone


@pytest.fixture(scope="module")
def serving(clone: Clone) -> Iterator[Serving]:
    found = Serving(clone.root, Path(clone.env["HOME"]), env=clone.env)
    try:
        found.wait_for("serving v1.0.0")
        yield found
    finally:
        found.end()


def click(serving: Serving, user: str, number: int, item: dict[str, Any]) -> dict[str, Any]:
    event = {"event_id": f"{user}/{number}", "user_id": user, "item_id": item["item_id"], "kind": "click"}
    return post(serving.url, "feedback", event)


def test_serve_click_export_retrain_gate_promote_serve(clone: Clone, serving: Serving) -> None:
    first = serving.model()
    assert first is not None
    for user in NEWCOMERS:
        answer = post(serving.url, "recommend", {"user_id": user, "k": 20})
        assert answer["fallback"] == "unknown_user"
        for number, item in enumerate(answer["items"][::4]):
            assert click(serving, user, number, item)["stored"] == 1
            assert click(serving, user, number, item)["duplicates"] == 1  # a retry
        again = post(serving.url, "recommend", {"user_id": user, "k": 20})
        assert again["fallback"] is None  # before any retraining
        assert not {item["item_id"] for item in answer["items"][::4]} & {item["item_id"] for item in again["items"]}

    assert "100 events in data/raw/feedback-" in clone.longtail("feedback", "export")
    assert "no new events" in clone.longtail("feedback", "export")

    clone.params({"train": {"als.embedding_dim": 32, "als.epochs": 12}})
    with Load(serving.url, pause=0.1) as load:  # it shall leave the run some of the processor
        printed = clone.longtail("run")
        assert "v2.0.0 serves now, in place of v1.0.0" in printed, printed
        serving.wait_for("serving v2.0.0")
        second = serving.model()
        assert second is not None
        load.wait_for(second)
    assert load.failures == []
    assert load.models.keys() == {first, second}

    pairs = pq.read_table(clone.root / "data/ingest/interactions.parquet", columns=["user_id"])["user_id"].to_pylist()
    assert [pairs.count(user) for user in NEWCOMERS] == [5] * 20
    known = requests.get(f"{serving.url}/users", params={"query": "newcomer"}, timeout=10).json()["users"]
    assert sorted(known) == sorted(NEWCOMERS)  # packed into the Bento: no event is needed any more


def test_monitor_compares_what_was_served_with_the_verdict(clone: Clone, serving: Serving) -> None:
    for number in range(120):
        post(serving.url, "recommend", {"user_id": f"stranger-{number}"})
    printed = clone.longtail("monitor", "--url", serving.url, "--tolerance", "1", "--max-fallback", "1")
    assert "the promoted model serves" in printed
    printed = clone.longtail("monitor", "--url", serving.url, "--tolerance", "0", "--max-fallback", "0", status=3)
    assert "drift" in printed


def test_forgetting_a_user_reaches_the_events_and_says_what_serves(clone: Clone, serving: Serving) -> None:
    shown = clone.longtail("forget", NEWCOMERS[0])
    assert "feedback: 5 events" in shown
    assert "not deleted: v2.0.0, which serves: version v2.0.0, Bento longtail:" in shown
    assert "objects of DVC's cache" in shown
    clone.longtail("forget", NEWCOMERS[0], "--yes")
    assert clone.longtail("forget", NEWCOMERS[0]).startswith("not deleted: v2.0.0, which serves")
