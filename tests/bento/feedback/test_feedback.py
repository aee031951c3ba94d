"""Feedback over HTTP: checked, limited, acknowledged once durable, and counted in the next history."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from bento.feedback import endpoint
from bento.feedback.rate_limit import CLIENTS, RateLimit
from bento.feedback.recent import Recent
from bento.feedback.store import Events
from models.inference.feedback_event import FIELDS, Event
from tests import postgres
from tests.bento import stored_events
from tests.bento.feedback_server import Service, app
from tests.conftest import REPO

EVENT: dict[str, Any] = {"event_id": "e1", "user_id": "u1", "item_id": "i3", "kind": "click"}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", f"sqlite:///{tmp_path / 'events.sqlite'}")
    return Service()


@pytest.fixture
def client(service: Service) -> TestClient:
    return TestClient(app(service))


def stored() -> list[Event]:
    return stored_events.stored(Events())


def test_a_client_can_send_every_field_of_an_event() -> None:
    """With bounds of its own, so that no field is accepted unchecked."""
    assert tuple(endpoint.FeedbackEvent.model_fields) == FIELDS


def test_an_event_is_acknowledged_and_stored(client: TestClient) -> None:
    answer = client.post("/feedback", json={**EVENT, "value": 2.0, "timestamp": 1.7e9})
    assert answer.status_code == 200
    assert answer.json() == {"model": "longtail:test", "stored": 1, "duplicates": 0, "unknown_items": []}
    assert stored() == [Event("e1", "u1", "i3", "click", 2.0, 1.7e9)]


def test_a_retry_is_a_duplicate_and_another_content_a_409_that_names_it(client: TestClient) -> None:
    client.post("/feedback", json=EVENT)
    assert client.post("/feedback", json=EVENT).json()["duplicates"] == 1
    answer = client.post("/feedback", json={"events": [{**EVENT, "item_id": "i4"}, {**EVENT, "event_id": "e2"}]})
    assert answer.status_code == 409
    assert answer.json()["conflicts"] == ["e1"]
    assert answer.json()["stored"] == 1
    assert [event.item_id for event in stored()] == ["i3", "i3"]


def test_items_that_the_model_does_not_know_are_kept_and_named(client: TestClient) -> None:
    answer = client.post("/feedback", json={**EVENT, "item_id": "brand new"})
    assert answer.json()["unknown_items"] == ["brand new"]
    assert [event.item_id for event in stored()] == ["brand new"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b"\xff",
        b'{"events": []}',
        b'{"events": {}}',
        b"[" * 100_000,
        b'{"event_id": "e", "user_id": "u", "item_id": "i", "kind": "wish"}',
        b'{"event_id": "", "user_id": "u", "item_id": "i", "kind": "click"}',
        b'{"event_id": 7, "user_id": "u", "item_id": "i", "kind": "click"}',
        b'{"event_id": "e", "user_id": "u\\u0000", "item_id": "i", "kind": "click"}',
        b'{"event_id": "e", "user_id": "two\\nlines", "item_id": "i", "kind": "click"}',
        b'{"event_id": "e", "user_id": "u", "item_id": "  ", "kind": "click"}',
        b'{"event_id": "e", "user_id": "\\ud800", "item_id": "i", "kind": "click"}',
        b'{"event_id": "e", "user_id": "u", "item_id": "i", "kind": "click", "value": NaN}',
        b'{"event_id": "e", "user_id": "u", "item_id": "i", "kind": "click", "value": 0}',
        b'{"event_id": "e", "user_id": "u", "item_id": "i", "kind": "click", "value": "1"}',
        b'{"event_id": "e", "user_id": "u", "item_id": "i", "kind": "click", "timestamp": 1700000000000}',
        b'{"event_id": "e", "user_id": "u", "item_id": "i", "kind": "click", "more": 1}',
    ],
)
def test_what_is_no_feedback_is_a_400_that_stores_nothing(client: TestClient, body: bytes) -> None:
    answer = client.post("/feedback", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("invalid feedback request")
    assert stored() == []


def test_a_client_that_sends_too_much_is_asked_to_wait(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_FEEDBACK_RATE", "1")  # and five at once
    client = TestClient(app(service))
    statuses = [client.post("/feedback", json={**EVENT, "event_id": f"e{n}"}) for n in range(7)]
    assert [answer.status_code for answer in statuses[:5]] == [200] * 5
    assert statuses[6].status_code == 429
    assert statuses[6].headers["Retry-After"] == "1"
    assert len(stored()) < 7


def test_the_limit_is_each_clients_own_and_its_memory_is_bounded() -> None:
    now = [0.0]
    limit = RateLimit(2, 10, clock=lambda: now[0])
    assert [limit.wait("a", 5), limit.wait("a", 5), limit.wait("b", 1)] == [0, 0, 0]
    assert limit.wait("a", 3) == 1.5
    now[0] = 1.5
    assert limit.wait("a", 3) == 0
    assert limit.wait("a", 1) == 0.5
    now[0] = 100
    assert limit.wait("a", 30) == 0  # more than a bucket: once it is full, and then the rest is owed
    assert limit.wait("a", 1) == 10.5
    for number in range(CLIENTS + 5):
        limit.wait(f"c{number}", 1)
    assert len(limit._buckets) == CLIENTS


def test_a_store_that_fails_acknowledges_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Events, events: list[Event]) -> None:
        raise OperationalError("insert", {}, OSError("disk full"))

    monkeypatch.setattr(Events, "add", fail)
    answer = client.post("/feedback", json=EVENT)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"


def test_too_many_waiting_events_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MOST_WAITING", 1)
    body = {"events": [EVENT, {**EVENT, "event_id": "e2"}]}
    assert client.post("/feedback", json=body).status_code == 503
    assert client.post("/feedback", json=EVENT).status_code == 200


def test_requests_that_wait_for_the_disk_share_the_next_transaction(service: Service) -> None:
    first_is_writing, go_on = threading.Event(), threading.Event()
    batches: list[int] = []

    class Slow(Events):
        def add(self, events: Any) -> Any:
            batches.append(len(events))
            first_is_writing.set()
            go_on.wait(10)
            return super().add(events)

    writer = endpoint.Writer(Slow())
    futures = [writer.submit([Event("e0", "u", "i1", "click")])]
    first_is_writing.wait(10)
    futures += [writer.submit([Event(f"e{n}", "u", "i1", "click")]) for n in range(1, 9)]
    go_on.set()
    assert [future.result(10) for future in futures] == [["stored"]] * 9
    assert batches == [1, 8]


def test_new_positives_are_known_at_once(service: Service, client: TestClient) -> None:
    assert service.recent("u1").tolist() == []
    for n, (user, item, kind) in enumerate(
        [("u1", "i7", "like"), ("u1", "i2", "click"), ("u1", "i8", "impression"), ("new", "i4", "purchase")]
    ):
        event = {"event_id": f"e{n}", "user_id": user, "item_id": item, "kind": kind}
        assert client.post("/feedback", json=event).status_code == 200
    assert service.recent("u1").tolist() == [2, 7]
    assert service.recent("new").tolist() == [4]
    client.post("/feedback", json={"event_id": "x", "user_id": "new", "item_id": "unheard of", "kind": "click"})
    assert service.recent("new").tolist() == [4]


def test_another_workers_events_are_known_at_once(service: Service, client: TestClient) -> None:
    other = Service()
    TestClient(app(other))
    client.post("/feedback", json={**EVENT, "event_id": "e0"})
    assert other.recent("u1").tolist() == [3]
    client.post("/feedback", json={**EVENT, "event_id": "e9", "item_id": "i9"})
    assert other.recent("u1").tolist() == [9, 3]


def test_recommendations_outlive_the_store(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    path.write_text("this is no database, but a text that is long enough to be taken for the header of one" * 20)
    recent = Recent(Events(f"sqlite:///{path}"), {})
    assert recent("u1").tolist() == []
    assert recent.errors == 1
    recent("u1")
    assert recent.errors == 1  # not asked again for a while


class Server:
    """Two workers that share a socket and a store; `kill` leaves them no time for anything."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}/feedback"
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        fd = self.socket.fileno()
        command = [sys.executable, "-m", "tests.bento.feedback_server", str(fd)]
        env = {**os.environ, "LONGTAIL_FEEDBACK_DB": self.url, "LONGTAIL_FEEDBACK_RATE": "1000000"}
        self.workers = [subprocess.Popen(command, cwd=REPO, env=env, pass_fds=[fd]) for _ in range(2)]

    def kill(self) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGKILL)
        for worker in self.workers:
            worker.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_acknowledged_event_is_stored_once_when_workers_are_killed_under_load(kind: str, tmp_path: Path) -> None:
    if kind == "postgresql":
        with postgres.serving() as url:
            kill_under_load(url)
    else:
        kill_under_load(f"sqlite:///{tmp_path / 'events.sqlite'}")


def kill_under_load(url: str) -> None:
    server, stop = Server(url), threading.Event()
    sent: list[set[str]] = []
    acknowledged: list[set[str]] = []

    def load(number: int) -> None:
        """A client that retries with the same ids until it is told that they are stored, and then once more."""
        rng = random.Random(number)
        mine: set[str] = set()
        done: set[str] = set()
        sent.append(mine)
        acknowledged.append(done)
        for n in range(100_000):
            if stop.is_set():
                return
            ids = [f"{number}-{n}-{i}" for i in range(rng.randrange(1, 20))]
            mine.update(ids)
            body = {"events": [{"event_id": e, "user_id": "u", "item_id": "i1", "kind": "click"} for e in ids]}
            for _ in range(1 + (n % 5 == 0)):
                while not stop.is_set():
                    try:
                        answer = requests.post(server.address, json=body, timeout=5)
                    except requests.RequestException:
                        continue
                    if answer.status_code == 200:
                        done.update(ids)
                        break

    server.start()
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(load, number) for number in range(8)]
        try:
            for _ in range(5):
                before = sum(map(len, acknowledged))
                deadline = time.monotonic() + 60
                while sum(map(len, acknowledged)) < before + 400 and time.monotonic() < deadline:
                    time.sleep(0.02)
                assert sum(map(len, acknowledged)) >= before + 400
                server.kill()
                server.start()
        finally:
            stop.set()
            server.kill()
    for running in clients:
        running.result()
    ids = [event.event_id for event in stored_events.stored(Events(url))]
    assert len(ids) == len(set(ids))
    assert set().union(*acknowledged) <= set(ids) <= set().union(*sent)
