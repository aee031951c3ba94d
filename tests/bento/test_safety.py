"""A server with a key and narrow limits, among clients that mean no good, and under the signals it may get."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from pipelines.bentos import smoke
from tests.judged import USER_IDS

pytestmark = pytest.mark.slow
KEY = {"Authorization": "Bearer secret"}
BATCH = {"user_ids": USER_IDS * 80, "k": 10}  # about a third of a second


@pytest.fixture(scope="module")
def guarded(store: Path, tag: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = shutil.copytree(store, tmp_path_factory.mktemp("guarded") / "store")  # its end ends all servers of a store
    limits = {"LONGTAIL_API_KEY": "secret", "LONGTAIL_CONCURRENCY": "4", "LONGTAIL_PATIENCE": "3"}
    with smoke.serving(tag, home=home, timeout=60, settings=limits) as address:
        yield address


def test_the_key_is_asked_for_everywhere_but_at_the_probes(guarded: str) -> None:
    for path in ("livez", "readyz"):
        assert requests.get(f"{guarded}/{path}", timeout=10).status_code == 200
    for path in ("", "docs", "docs.json", "metrics", "items?query=a", "explorer/explorer.js", "nowhere"):
        refused = requests.get(f"{guarded}/{path}", timeout=10)
        assert refused.status_code == 401, path
        assert "API key" in refused.json()["error"]
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
    assert requests.post(f"{guarded}/recommend", json={"user_id": "u1"}, timeout=10).status_code == 401
    assert requests.post(f"{guarded}/recommend", json={"user_id": "u1"}, headers=KEY, timeout=10).status_code == 200
    assert requests.get(f"{guarded}/docs.json", auth=("anybody", "secret"), timeout=10).status_code == 200


def test_more_requests_than_allowed_are_told_when_to_come_again(guarded: str) -> None:
    def ask(_: int) -> requests.Response:
        return requests.post(f"{guarded}/recommend_batch", json=BATCH, headers=KEY, timeout=60)

    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(ask, range(24)))
    assert {answer.status_code for answer in answers} == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["Retry-After"] == "1"
    assert requests.post(f"{guarded}/recommend", json={"user_id": "u1"}, headers=KEY, timeout=10).status_code == 200


def test_two_hundred_slow_clients_stop_nobody_and_are_sent_away(guarded: str) -> None:
    host, port = guarded.removeprefix("http://").split(":")
    head = (
        b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\nContent-Length: 1000\r\n\r\n{"
    )
    slow = [socket.create_connection((host, int(port)), timeout=30) for _ in range(200)]
    try:
        for each in slow:
            each.sendall(head)
        for path in ("livez", "readyz"):
            assert requests.get(f"{guarded}/{path}", timeout=10).status_code == 200
        assert requests.post(f"{guarded}/recommend", json={"user_id": "u1"}, headers=KEY, timeout=10).ok
        assert {each.recv(12) for each in slow} == {b"HTTP/1.1 408"}
    finally:
        for each in slow:
            each.close()


@pytest.fixture
def home(store: Path, tmp_path: Path) -> Path:
    """A store that no other server serves from."""
    return shutil.copytree(store, tmp_path / "store")


def test_sigterm_lets_requests_finish(home: Path, tag: str) -> None:
    with smoke.serving(tag, home=home, timeout=60) as url, ThreadPoolExecutor(2) as threads:
        supervisor = next(iter(smoke.workers_of(home))).parent()
        assert supervisor is not None
        many = [threads.submit(requests.post, f"{url}/recommend_batch", json=BATCH, timeout=60) for _ in range(2)]
        time.sleep(0.1)
        supervisor.terminate()
        assert [answer.result().status_code for answer in many] == [200, 200]
        supervisor.wait(20)


def test_a_worker_ends_with_its_killed_supervisor(home: Path, tag: str) -> None:
    with smoke.serving(tag, home=home, timeout=60):
        (worker,) = smoke.workers_of(home)
        supervisor = worker.parent()
        assert supervisor is not None
        supervisor.kill()
        gone, _ = psutil.wait_procs([worker], timeout=15)
        assert gone == [worker]
