"""Faults of the feedback store under load: lists keep coming, and every acknowledged event is stored once.

A real PostgreSQL that is stopped, slowed, killed, cut off or full, and a SQLite file that is locked or full, behind a
served Bento. Some minutes, so only where LONGTAIL_FAULTS is set: `make test-faults`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from bento.feedback.store import Events
from pipelines.bentos import smoke
from tests import postgres
from tests.bento import stored_events
from tests.bento.proxy import Proxy
from tests.judged import ITEM_IDS, USER_IDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("LONGTAIL_FAULTS" not in os.environ, reason="set LONGTAIL_FAULTS, or `make test-faults`"),
]
CLOCK = """
import time

real = time.time
time.time = lambda: real() + float(open({path!r}).read())
"""
ANSWERS = 100  # that have to come while the store does not work


def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(1200):
        if condition():
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"{what}: it never came")


class Load:
    """Clients that ask for lists, and clients that report events and repeat each until it is acknowledged."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lists: Counter[int] = Counter()  # answers by status
        self.events: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.sent: set[str] = set()
        self.acknowledged: set[str] = set()
        self.stops = threading.Event()
        jobs = [self.ask, self.ask, self.ask_many, self.report, self.report, self.report]
        self.threads = [threading.Thread(target=job, args=(number,)) for number, job in enumerate(jobs)]

    def post(self, session: requests.Session, path: str, body: Any) -> requests.Response | None:
        try:
            return session.post(f"{self.url}/{path}", json=body, timeout=60)
        except requests.RequestException as error:
            self.wrong.append(f"{path}: {error!r}")
            return None

    def ask(self, number: int, path: str = "recommend") -> None:
        session, users = requests.Session(), USER_IDS
        body = {"user_id": users[number]} if path == "recommend" else {"user_ids": [*users, "newcomer"]}
        while not self.stops.wait(0.01):
            if (answer := self.post(session, path, body)) is not None:
                self.lists[answer.status_code] += 1

    def ask_many(self, number: int) -> None:
        self.ask(number, "recommend_batch")

    def report(self, number: int) -> None:
        session = requests.Session()
        for n in range(10**6):
            event_id = f"{id(self)}-{number}-{n}"
            self.sent.add(event_id)
            event = {"event_id": event_id, "user_id": f"visitor {n % 50}", "item_id": ITEM_IDS[n % 40], "kind": "click"}
            while not self.stops.wait(0.01):
                answer = self.post(session, "feedback", event)
                if answer is None:
                    continue
                self.events[answer.status_code] += 1
                if answer.status_code == 200:
                    self.acknowledged.add(event_id)
                    break
                if answer.status_code != 503 or "Retry-After" not in answer.headers:
                    self.wrong.append(f"feedback: {answer.status_code} {answer.text}")
            if self.stops.is_set():
                return

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        until(lambda: len(self.acknowledged) > 20 and self.lists[200] > 20, "the load")
        return self

    def __exit__(self, *_: object) -> None:
        self.stops.set()
        for thread in self.threads:
            thread.join()

    def goes_on(self) -> None:
        """As many answers as that come from now on, while requests for other things are answered as well."""
        target = self.lists[200] + ANSWERS
        until(lambda: self.lists[200] >= target or self.wrong, "answers")
        assert requests.get(f"{self.url}/livez", timeout=30).ok
        assert requests.get(f"{self.url}/readyz", timeout=30).ok
        assert requests.get(f"{self.url}/history", params={"user_id": "visitor 1"}, timeout=30).ok

    def reports(self) -> None:
        """Events are acknowledged from now on."""
        known = len(self.acknowledged)
        until(lambda: len(self.acknowledged) > known + 20, "acknowledged events")


def readiness(url: str) -> dict[str, Any]:
    answer = requests.get(f"{url}/readyz/feedback", timeout=30)
    found: dict[str, Any] = answer.json()
    assert answer.ok == (found["feedback"] == "ok"), found
    return found


def gauge(url: str, name: str) -> float:
    text = requests.get(f"{url}/metrics", timeout=30).text
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).rpartition(" ")[2])


@contextmanager
def fault(load: Load, worker: psutil.Process, *, refuses: bool = True) -> Iterator[None]:
    """Around the fault itself: answers before, while and after it; afterwards everything works, on as many threads."""
    load.goes_on()
    before = worker.num_threads()
    yield
    until(lambda: readiness(load.url)["feedback"] == "ok", "health")
    load.reports()
    load.goes_on()
    assert worker.num_threads() <= before + 2
    assert load.wrong == []
    assert set(load.lists) == {200}
    assert not refuses or load.events[503] > 0


def degraded(load: Load, operation: str = "write") -> None:
    """The service says that feedback does not work, and goes on."""
    until(lambda: readiness(load.url)["feedback"] == "degraded", "the fault")
    until(lambda: gauge(load.url, f'longtail_feedback_up{{operation="{operation}"}}') == 0, "the gauge")
    load.goes_on()


def check(load: Load, url: str) -> None:
    ids = [event.event_id for event in stored_events.stored(Events(url)) if event.user_id != "probe"]
    assert len(ids) == len(set(ids))
    assert load.acknowledged <= set(ids)
    assert {each for each in ids if each.startswith(f"{id(load)}-")} <= load.sent


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    with postgres.cluster() as found:
        yield found


@pytest.fixture(scope="module")
def proxy(cluster: postgres.Cluster) -> Iterator[Proxy]:
    found = Proxy(cluster.port)
    yield found
    found.end()


@contextmanager
def served(store: Path, tag: str, home: Path, **settings: str) -> Iterator[tuple[str, psutil.Process]]:
    """Address and worker of a server with a store of its own, so that no other server's worker is taken for it."""
    shutil.copytree(store, home)
    quiet = {"LONGTAIL_ACCESS_LOG": "off", "LONGTAIL_FEEDBACK_RATE": "1000000", **settings}
    with smoke.serving(tag, home=home, timeout=120, settings=quiet) as url:
        (worker,) = smoke.workers_of(home)
        yield url, worker


@pytest.fixture(scope="module")
def server(
    store: Path, tag: str, proxy: Proxy, cluster: postgres.Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, psutil.Process]]:
    url = cluster.url.replace(str(cluster.port), str(proxy.port))
    home = tmp_path_factory.mktemp("faults") / "store"
    with served(store, tag, home, LONGTAIL_FEEDBACK_DB=url) as found:
        yield found


def suspend(cluster: postgres.Cluster) -> None:
    for process in cluster.processes():
        process.suspend()


def resume(cluster: postgres.Cluster) -> None:
    for process in reversed(cluster.processes()):
        process.resume()


def stop(cluster: postgres.Cluster, proxy: Proxy) -> None:
    suspend(cluster)


def go_on(cluster: postgres.Cluster, proxy: Proxy) -> None:
    resume(cluster)


def slow(cluster: postgres.Cluster, proxy: Proxy) -> None:
    proxy.delay = 2.0


def silent(cluster: postgres.Cluster, proxy: Proxy) -> None:
    proxy.silent = True


def cut(cluster: postgres.Cluster, proxy: Proxy) -> None:
    proxy.cut()


def heal(cluster: postgres.Cluster, proxy: Proxy) -> None:
    proxy.heal()


def kill(cluster: postgres.Cluster, proxy: Proxy) -> None:
    cluster.kill()


def start(cluster: postgres.Cluster, proxy: Proxy) -> None:
    cluster.start()


Step = Callable[[postgres.Cluster, Proxy], None]


@pytest.mark.parametrize(
    ("begin", "end"), [(stop, go_on), (slow, heal), (silent, heal), (cut, heal), (kill, start)],
    ids=["stopped", "slow", "silent network", "cut network", "killed"],
)  # fmt: skip
def test_a_postgresql_that_fails_costs_fresh_events_and_no_answer(
    cluster: postgres.Cluster, proxy: Proxy, server: tuple[str, psutil.Process], begin: Step, end: Step
) -> None:
    url, worker = server
    with Load(url) as load, fault(load, worker):
        begin(cluster, proxy)
        try:
            degraded(load)
            for _ in range(3):
                load.goes_on()
        finally:
            end(cluster, proxy)
    check(load, cluster.url)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that every user may enter."""
    found = Path("/tmp") / f"longtail-disk-{os.getpid()}"
    found.mkdir(mode=0o755)
    yield found
    shutil.rmtree(found, ignore_errors=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


def test_a_full_disk_of_postgresql_costs_no_answer(store: Path, tag: str, outside: Path, tmp_path: Path) -> None:
    with (
        small_disk(outside / "disk", "200m") as disk,
        postgres.cluster(disk / "data") as full,
        served(store, tag, tmp_path / "store", LONGTAIL_FEEDBACK_DB=full.url) as (url, worker),
        Load(url) as load,
        fault(load, worker),
    ):
        filler = fill(disk)
        degraded(load)
        filler.unlink()
        assert full.server is not None
        if full.server.poll() is not None:
            full.start()  # it ends where not even its log can be written
    # what it held is gone with the disk, so the events are compared before
    # (`fault` has seen acknowledged events after the disk was full)


def test_a_full_disk_of_sqlite_costs_no_answer(store: Path, tag: str, outside: Path, tmp_path: Path) -> None:
    with small_disk(outside / "disk", "2m") as disk:
        address = f"sqlite:///{disk / 'events.sqlite'}"
        with (
            served(store, tag, tmp_path / "store", LONGTAIL_FEEDBACK_DB=address) as (url, worker),
            Load(url) as load,
            fault(load, worker),
        ):
            filler = fill(disk)
            degraded(load)
            filler.unlink()
        check(load, address)


def test_a_locked_sqlite_file_costs_no_answer(store: Path, tag: str, tmp_path: Path) -> None:
    """Another program holds the write lock, as a worker does that was stopped in the middle of a transaction."""
    path = tmp_path / "events.sqlite"
    with served(store, tag, tmp_path / "store", LONGTAIL_FEEDBACK_DB=f"sqlite:///{path}") as (url, worker):
        with Load(url) as load, fault(load, worker):
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("begin immediate")
            degraded(load)
            other.execute("rollback")
            other.close()
        check(load, f"sqlite:///{path}")


def test_a_clock_set_back_an_hour_changes_nothing(
    store: Path, tag: str, cluster: postgres.Cluster, tmp_path: Path
) -> None:
    """The clock is that of Python in the server's processes: libfaketime disturbs how its threads wait."""
    clock, hook = tmp_path / "clock", tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(CLOCK.format(path=str(clock)))

    def put(seconds: int) -> None:
        partial = tmp_path / "partial"
        partial.write_text(str(seconds))
        partial.replace(clock)

    def hour() -> str:
        return requests.get(f"{url}/livez", timeout=30).headers["date"].partition(":")[0]

    put(0)
    settings = {"LONGTAIL_FEEDBACK_DB": cluster.url, "PYTHONPATH": str(hook)}
    with served(store, tag, tmp_path / "store", **settings) as (url, worker):
        with Load(url) as load, fault(load, worker, refuses=False):
            before = hour()
            put(-3600)
            until(lambda: hour() != before, "the clock")
            for _ in range(3):
                load.goes_on()
            load.reports()
            put(0)
        check(load, cluster.url)


def test_a_database_that_is_stopped_while_the_server_drains_does_not_hold_it(
    store: Path, tag: str, cluster: postgres.Cluster, tmp_path: Path
) -> None:
    with served(store, tag, tmp_path / "store", LONGTAIL_FEEDBACK_DB=cluster.url) as (url, worker):
        assert report(url, "before") == 200
        suspend(cluster)
        try:
            sender = threading.Thread(target=report, args=(url, "never"))
            sender.start()
            supervisor = worker.parent()
            assert supervisor is not None
            supervisor.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs([worker], timeout=60)
            assert alive == []
            sender.join()
        finally:
            resume(cluster)
    assert not [each for each in stored_events.stored(Events(cluster.url)) if each.event_id == f"never-{os.getpid()}"]


def report(url: str, name: str) -> int | None:
    """Status of the answer to an event; None where there is none."""
    event = {"event_id": f"{name}-{os.getpid()}", "user_id": "u", "item_id": ITEM_IDS[0], "kind": "click"}
    with suppress(requests.RequestException):
        return requests.post(f"{url}/feedback", json=event, timeout=60).status_code
    return None
