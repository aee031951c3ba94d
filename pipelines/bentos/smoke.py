"""Smoke test of an exported Bento: import it, serve it, and compare its answers over HTTP with the model's."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import psutil
import requests

from models.inference.candidates import of_scores
from models.inference.cells import Cells
from models.inference.factors import Factors
from models.inference.reranking import none, rerank
from pipelines.bentos import store

K = 10
MISSED = 1  # item of K that may differ in a search of cells, since rounding may change the choice of cells


@dataclass(frozen=True)
class Probe:
    """Input of the smoke test, and the model to compare with."""

    factors: Factors
    item_ids: Sequence[str]  # by item_idx
    user_id: str
    history: npt.NDArray[np.int32]  # item_idx of that user
    cells: Cells | None = None  # None: exact search of the catalogue


def test(archive: Path, tag: str, probe: Probe, *, home: Path, timeout: float) -> tuple[dict[str, Any], float, float]:
    """Import the archive into the store `home`, serve it, test its answers; raises ValueError with the server's log.

    Returns the answers, the seconds until it was ready, and the worker's memory in bytes.
    """
    home.mkdir()
    store.run("import", str(archive.absolute()), env=store.environment(home))
    started = time.monotonic()
    with serving(tag, home=home, timeout=timeout) as url:
        ready = time.monotonic() - started
        answers = ask(url, tag, probe)
        return answers, ready, max((worker.memory_info().rss for worker in workers_of(home)), default=0.0)


def ask(url: str, tag: str, probe: Probe) -> dict[str, Any]:
    """Request a known user, a list of items, an unknown user, and send a malformed request; raises ValueError.

    The answers are kept in Git, so they do not identify the known user.
    """
    known = post(url, "recommend", {"user_id": probe.user_id, "k": K})
    compare(known, probe, probe.history, tag)
    basket = probe.history[:3]
    items = post(url, "recommend_for_items", {"item_ids": [probe.item_ids[i] for i in basket], "k": K})
    compare(items, probe, basket, tag)
    unknown = post(url, "recommend", {"user_id": "\u0000 nobody", "k": K})
    if unknown["fallback"] != "unknown_user" or not unknown["items"]:
        raise ValueError(f"the answer for an unknown user is {unknown}, expected the fallback of popular items")
    malformed = call(url, "recommend", {"user_id": 7, "k": "all"}).status_code
    if not 400 <= malformed < 500:
        raise ValueError(f"the answer to a malformed request has status {malformed}, expected 4xx")
    return {
        "known_user": {"items": len(known["items"])},
        "list_of_items": {
            "item_ids": [probe.item_ids[i] for i in basket],
            "items": [item["item_id"] for item in items["items"]],
        },
        "unknown_user": {"fallback": unknown["fallback"], "items": [item["item_id"] for item in unknown["items"]]},
        "malformed_request": {"status": malformed},
    }


def compare(answer: dict[str, Any], probe: Probe, history: npt.NDArray[np.int32], tag: str) -> None:
    """Compare an answer with the list computed here: the same items in the same order, up to rounding."""
    if answer["model"] != tag:
        raise ValueError(f"the server answers as {answer['model']}, expected {tag}")
    factors = probe.factors
    user = factors.fold_in([history])
    scores = (factors.queries(user) @ factors.item_vectors().T)[0]  # (n_items,)
    if probe.cells is not None:
        scores = probe.cells.scanned(user[0], scores, wanted=K + len(history))
    scores[history] = -np.inf
    index = {item_id: i for i, item_id in enumerate(probe.item_ids)}
    served = [index[item["item_id"]] for item in answer["items"]]
    # among scores equal up to rounding, prefer the served items: the first by the largest bonus, the last by the least
    size = np.abs(scores[np.isfinite(scores)]).max(initial=0)
    scores[served] += np.linspace(1e-4, 1e-5, len(served)) * size
    best = listed(factors, scores, history)
    others = len({*served} - {*best})
    same = served == best if probe.cells is None else len(served) == len(best) and others <= MISSED
    if not same:
        raise ValueError(f"the server recommends {served} with scores {scores[served]}, the model's best are {best}")


def listed(factors: Factors, scores: npt.NDArray[np.float32], history: npt.NDArray[np.int32]) -> list[int]:
    """Return the model's list of K items for scores (n_items,), shorter if fewer are left."""
    how = factors.rerank or none(np.zeros(len(scores), np.bool_))
    items = rerank(how, of_scores(scores, how.is_tail, k=K), how.tail_share(history), k=K)[0]
    return [int(item) for item in items if item >= 0]


def post(url: str, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request that must succeed."""
    response = call(url, endpoint, body)
    if response.status_code != 200:
        raise ValueError(f"{endpoint} answers {response.status_code}: {response.text[:500]}")
    answer: dict[str, Any] = response.json()
    return answer


def call(url: str, endpoint: str, body: dict[str, Any]) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # a proxy must not see requests to loopback
        return session.post(f"{url}/{endpoint}", json=body, timeout=30)


@contextmanager
def serving(tag: str, *, home: Path, timeout: float, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve a Bento of the store `home` on a free loopback port; yields its address, and ends all processes.

    settings: further variables of its environment.
    """
    log, port = home / "server.log", free_port()
    command = [*store.BENTOML, "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    previous = signal.signal(signal.SIGTERM, exit_on_signal)  # if a scheduler ends the stage, the server must end too
    env = store.environment(home) | dict(settings or {})
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=env, cwd=home, stdout=output, stderr=output, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_ready(url, server, timeout)
        yield url
    except (ValueError, requests.RequestException) as error:
        end = store.tail(log.read_text("utf-8", "replace"))
        raise ValueError(f"smoke test of {tag} failed: {error}; the server's log ends: {end}") from None
    finally:
        stop(server, home)
        signal.signal(signal.SIGTERM, previous)


def exit_on_signal(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_ready(url: str, server: subprocess.Popen[bytes], timeout: float) -> None:
    end = time.monotonic() + timeout
    with requests.Session() as session:
        session.trust_env = False
        while (left := end - time.monotonic()) > 0:
            if server.poll() is not None:
                raise ValueError(f"the server exited with status {server.returncode} before it was ready")
            with suppress(requests.RequestException):  # not listening yet
                if session.get(f"{url}/readyz", timeout=min(left, 2)).ok:
                    return
            time.sleep(0.1)
    raise ValueError(f"the server was not ready after {timeout} s; raise package.ready_timeout on a slow machine")


def stop(server: subprocess.Popen[bytes], home: Path, patience: float = 10) -> None:
    """End the server and its leftovers; the supervisor first, since it restarts a worker that ends before it."""
    family = processes(server, home)
    server.terminate()
    try:
        server.wait(patience)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    _, left = psutil.wait_procs(family | processes(server, home), timeout=1)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=patience)


def processes(server: subprocess.Popen[bytes], home: Path) -> set[psutil.Process]:
    """Return descendants and orphans of the server: workers start their own sessions, but inherit its store `home`."""
    found = workers_of(home)
    with suppress(psutil.NoSuchProcess):  # it has ended already
        found.update(psutil.Process(server.pid).children(recursive=True))
    return {process for process in found if process.pid != server.pid}


def workers_of(home: Path) -> set[psutil.Process]:
    """Return the workers that serve from the store `home`; their supervisor's title hides its environment."""
    running = psutil.process_iter(["environ"])
    return {process for process in running if (process.info["environ"] or {}).get("BENTOML_HOME") == str(home)}
