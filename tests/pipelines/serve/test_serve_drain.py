"""`longtail serve` that is stopped or killed under load: what was accepted is answered, and nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from tests import judged
from tests.conftest import REPO
from tests.pipelines.releases import Checkout
from tests.pipelines.served_versions import Serving, assign, register

pytestmark = pytest.mark.slow
BATCH = {"user_ids": [*judged.USER_IDS * 80], "k": 30}


@pytest.fixture(scope="module")
def root(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout, the current folder, where a version serves."""
    root = tmp_path_factory.mktemp("drain") / "checkout"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for scope in ("GLOBAL", "SYSTEM"):
            patch.setenv(f"GIT_CONFIG_{scope}", os.devnull)
        patch.chdir(root)
        Checkout.create(root)
        tag = register("v1.0.0", packaged)
        (root.parent / "tag").write_text(tag)
        assign("v1.0.0")
        yield root


@pytest.fixture
def serving(root: Path) -> Iterator[Serving]:
    env = {**os.environ, "PYTHONPATH": str(REPO), "BENTOML_HOME": str(root.parent), "LONGTAIL_ACCESS_LOG": "off"}
    found = Serving(root, root.parent, "--workers", "2", "--grace", "20", env=env)
    left: list[psutil.Process] = []
    try:
        found.wait_for("serving v1.0.0")
        left = found.workers()
        yield found
    finally:
        found.end()
        for worker in left:
            if worker.is_running():
                worker.kill()


class Clients:
    """Clients that ask until nobody listens any more: connections kept and new ones, requests short and long."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers, self.broken = 0, list[str]()
        self.threads = [threading.Thread(target=self.ask, args=(n % 2 == 0, n < 2)) for n in range(8)]
        for thread in self.threads:
            thread.start()

    def ask(self, keeps: bool, long: bool) -> None:
        session = requests.Session()
        path, body = ("recommend_batch", BATCH) if long else ("recommend", {"user_id": judged.USER_IDS[0]})
        for _ in range(100_000):
            post = session.post if keeps else requests.post
            try:
                answer = post(f"{self.url}/{path}", json=body, timeout=60)
            except requests.ConnectionError as error:
                if "Connection refused" not in repr(error):
                    self.broken.append(repr(error))
                return
            if answer.status_code != 200:
                self.broken.append(f"{answer.status_code} {answer.text[:100]}")
            self.answers += 1

    def wait(self, answers: int) -> None:
        target = self.answers + answers
        for _ in range(6000):
            if self.answers >= target or self.broken:
                return
            threading.Event().wait(0.01)
        raise AssertionError(f"{self.answers} of {target} answers came")

    def end(self) -> None:
        for thread in self.threads:
            thread.join()


def test_sigterm_under_load_breaks_no_request_even_when_it_comes_twice(serving: Serving) -> None:
    workers, clients = serving.workers(), Clients(serving.url)
    clients.wait(300)
    serving.process.send_signal(signal.SIGTERM)
    serving.process.send_signal(signal.SIGTERM)
    assert serving.process.wait(60) == 0
    clients.end()
    assert clients.broken == []
    assert clients.answers > 300
    assert not [worker for worker in workers if worker.is_running()]


def test_a_supervisor_killed_under_load_leaves_no_worker_and_frees_the_port(serving: Serving) -> None:
    workers, clients = serving.workers(), Clients(serving.url)
    assert len(workers) == 2
    clients.wait(300)
    serving.process.kill()
    serving.process.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
    clients.end()
    assert clients.broken == []
    socket.create_server(("127.0.0.1", serving.port)).close()
    serving.start()
    serving.wait_for((serving.log.parent / "tag").read_text())
    assert serving.stop() == 0


def test_a_worker_killed_under_load_breaks_its_own_requests_alone(serving: Serving) -> None:
    victim, clients = serving.workers()[0], Clients(serving.url)
    clients.wait(300)
    victim.kill()
    serving.wait_for("ended with exit status -9")
    assert len(clients.broken) <= len(clients.threads)  # each had one request at most under way
    assert requests.get(f"{serving.url}/readyz", timeout=30).json()["status"] == "ready"
    serving.process.send_signal(signal.SIGTERM)
    assert serving.process.wait(60) == 0
    clients.end()


@pytest.mark.parametrize(("grace", "signals"), [("1.5", [signal.SIGTERM]), ("30", [signal.SIGINT, signal.SIGINT])])
def test_whoever_is_still_connected_after_the_grace_or_a_second_ctrl_c_is_cut_off(
    root: Path, grace: str, signals: list[signal.Signals]
) -> None:
    serving = Serving(root, root.parent, "--grace", grace)
    try:
        serving.wait_for("serving v1.0.0")
        with socket.create_connection(("127.0.0.1", serving.port), timeout=60) as slow:
            slow.sendall(
                b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            with requests.Session() as idle:
                assert idle.get(f"{serving.url}/readyz", timeout=30).ok
                for each in signals:
                    serving.process.send_signal(each)
                    threading.Event().wait(0.5)  # two at once are one
                assert serving.process.wait(60) == 0
            with suppress(ConnectionResetError):
                assert slow.recv(1) == b""  # else it would have been told after ten seconds that it is too slow
    finally:
        serving.end()


def test_a_second_supervisor_on_the_same_port_says_so_and_disturbs_nobody(serving: Serving) -> None:
    other = Serving.__new__(Serving)
    other.__dict__.update(serving.__dict__, log=serving.log.with_suffix(".other"))
    other.start()
    assert other.process.wait(60) == 1
    assert f"cannot listen on 127.0.0.1:{serving.port} (Address already in use" in other.text()
    assert requests.get(f"{serving.url}/readyz", timeout=30).json()["feedback"] == "ok"
