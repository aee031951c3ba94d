"""`longtail serve` follows the registry without losing a request, and never to a version that fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from pipelines.artifacts import outputs
from pipelines.bentos.smoke import post
from pipelines.package.stage import main as run_package
from pipelines.serve.supervisor import LOOK_SECONDS
from tests import judged
from tests.conftest import Workspace
from tests.pipelines.releases import Checkout
from tests.pipelines.served_versions import Load, Serving, assign, register

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package like `packaged`, of another model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("other"))
        Workspace(Path.cwd())
        judged.write(model=judged.factors(seed=1))
        run_package()
        return Path("data/package").absolute()


@pytest.fixture(scope="module")
def tags(packaged: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The current folder is a checkout with v1 and v2, of which v1 serves, and v3, which answers other than it did."""
    root = tmp_path_factory.mktemp("serve") / "checkout"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for scope in ("GLOBAL", "SYSTEM"):
            patch.setenv(f"GIT_CONFIG_{scope}", os.devnull)
        patch.chdir(root)
        Checkout.create(root)
        smoke = outputs.read_json(other / "bento.json")["smoke"]
        wrong = {**smoke, "unknown_user": {"fallback": "unknown_user", "items": ["what", "it", "never", "said", "!"]}}
        found = {
            "v1.0.0": register("v1.0.0", packaged),
            "v2.0.0": register("v2.0.0", other),
            "v3.0.0": register("v3.0.0", other, {"smoke": wrong}),
        }
        assign("v1.0.0")
        yield found


@pytest.fixture(scope="module")
def serving(tags: dict[str, str]) -> Iterator[Serving]:
    found = Serving(Path.cwd(), Path.cwd().parent, "--compare")
    try:
        found.wait_for(tags["v1.0.0"])
        yield found
    finally:
        found.end()


# The tests below are one story and run in this order.


def test_promotion_and_rollback_under_load_lose_no_request(serving: Serving, tags: dict[str, str]) -> None:
    with Load(serving.url) as load:
        for version in ("v2.0.0", "v1.0.0"):
            assign(version)
            serving.wait_for(tags[version])
            load.wait_for(tags[version], answers=load.models[tags[version]] + 20)
    assert load.failures == []
    assert load.models.keys() == {tags["v1.0.0"], tags["v2.0.0"]}


def test_events_outlive_the_version_that_took_them(serving: Serving, tags: dict[str, str]) -> None:
    event = {"event_id": "kept", "user_id": "visitor", "item_id": judged.ITEM_IDS[7], "kind": "like"}
    post(serving.url, "feedback", event)
    assign("v2.0.0")
    serving.wait_for(tags["v2.0.0"])
    assert post(serving.url, "recommend", {"user_id": "visitor"})["fallback"] is None
    assert post(serving.url, "feedback", event)["duplicates"] == 1


def test_the_version_before_answers_comparisons(serving: Serving, tags: dict[str, str]) -> None:
    before = post(serving.url, "previous/recommend", {"user_id": judged.USER_IDS[0], "k": 5})
    assert before["model"] == tags["v1.0.0"]
    assert requests.get(f"{serving.url}/previous", timeout=10).json() == {"available": True}


def test_a_version_that_fails_its_smoke_test_leaves_the_old_one_serving(serving: Serving, tags: dict[str, str]) -> None:
    with Load(serving.url) as load:
        assign("v3.0.0")
        serving.wait_for("v2.0.0 continues to serve")
    assert load.failures == []
    assert load.models.keys() == {tags["v2.0.0"]}
    assert "v3.0.0 (" in serving.text()
    assert "failed its smoke test: the answer for an unknown user is" in serving.text()


def test_a_killed_worker_is_replaced(serving: Serving, tags: dict[str, str]) -> None:
    before = {worker.pid for worker in serving.workers()}
    for worker in serving.workers():
        worker.kill()
    serving.wait_for("ended with exit status -9")
    serving.wait_for(tags["v2.0.0"])
    assert not before & {worker.pid for worker in serving.workers()}


def test_it_stops_in_order_and_a_restart_remembers(serving: Serving, tags: dict[str, str]) -> None:
    left = serving.workers()
    assert serving.stop() == 0
    assert not [worker for worker in left if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
    serving.start()
    serving.wait_for("so v2.0.0 continues to serve")
    serving.wait_for(tags["v2.0.0"])
    time.sleep(2 * LOOK_SECONDS + 1)
    assert serving.text().count("preparing v3.0.0") == 1  # it is not tried again


def test_a_killed_supervisor_leaves_nothing_behind(serving: Serving) -> None:
    left = serving.workers()
    assert left
    serving.process.send_signal(signal.SIGKILL)
    serving.process.wait()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert alive == []
