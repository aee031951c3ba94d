"""`make bench-serving`: the Bento under load, compared with plain FastAPI and Starlette apps of the same search.

Each size is served by all three, from the same folder, each in one process with one math thread. They are loaded in
turn, by 16 connections of another process; the table has medians of five rounds. `python -m benchmarks.serving 10000`
measures one size alone, `python -m benchmarks.serving --wishes` free-text queries.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import requests

from benchmarks import _catalogue
from benchmarks._results import printed, save
from pipelines.bentos import smoke, store

ITEMS, DIMENSIONS = (10_000, 100_000, 1_000_000), (64, 128)
CONNECTIONS, SECONDS, ROUNDS = 16, 3.0, 5
BATCH = 1000
REPO = Path(__file__).resolve().parents[1]
WORDS = (4, 8, 16)  # of a free-text query
PHRASE = (
    "a quiet book about the night sky for somebody who likes old letters slow trains and rain on a tin roof but not "
    "too sad with a robot in a garden that learns to sing before winter comes to the harbour and everybody goes home"
)
PEERS = ("fastapi", "starlette")
SEARCH = """
import json, time
from bento.model.recommender import Recommender
service = Recommender()
histories = [service.history(user) for user in json.load(open("../users.json"))[:300]]
for history in histories[:20]:
    service.recommend_list(history, None, history, 10)
started = time.perf_counter()
for history in histories:
    service.recommend_list(history, None, history, 10)
print((time.perf_counter() - started) / len(histories) * 1e3)
"""


def rows(items: list[int]) -> Iterator[Mapping[str, Any]]:
    for n in items:
        for d in DIMENSIONS:
            for in_cells in (False, True) if n > min(ITEMS) else (False,):
                with TemporaryDirectory() as temp:
                    folder = Path(temp) / "bento"
                    n_users = n if n == max(ITEMS) else 10_000
                    search = _catalogue.write(folder, n, d, n_users, in_cells=in_cells)
                    if in_cells and search.startswith("flat"):
                        continue
                    yield from measured(folder, {"items": n, "d": d, "users": n_users, "search": search.split(":")[0]})


def measured(folder: Path, about: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a row per server; all three are loaded in turn in each round, so that a slow round affects all."""
    pure = float(python(folder, "-c", SEARCH))
    with ExitStack() as running:
        servers = {name: running.enter_context(serving(folder, name)) for name in ("bento", *PEERS)}
        loads: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, (port, worker, _) in servers.items():
                loads[name].append(loaded(folder, port, worker))
        for name, (port, worker, ready) in servers.items():
            found = {key: median(load[key] for load in loads[name]) for key in loads[name][0]}
            together = batch(port, folder) if name == "bento" else None
            memory = worker.memory_full_info().pss / 1e6
            more = {"search_ms": pure, "batch_of_1000_s": together, "ready_s": ready, "memory_mb": memory}
            yield {**about, "server": name, **found, **more}


def loaded(folder: Path, port: int, worker: psutil.Process) -> dict[str, float]:
    """Return the figures of one round of load, and the worker's processor time in milliseconds per answer."""
    before = seconds_of(worker)
    users = str(_catalogue.users_of(folder))
    found: dict[str, float] = json.loads(
        python(REPO, "-m", "benchmarks._load", str(port), "/recommend", str(CONNECTIONS), str(SECONDS), users)
    )
    return found | {"processor_ms": (seconds_of(worker) - before) / found.pop("answers") * 1000}


def wishes() -> Iterator[Mapping[str, Any]]:
    """Measure recommend_for_text over HTTP, one by one: response time in ms, and the worker's processor time."""
    phrase = PHRASE.split()
    for n, n_texts in ((10_000, 10_000), (100_000, 50_000)):
        with TemporaryDirectory() as temp:
            folder = Path(temp) / "bento"
            _catalogue.write(folder, n, 64, 1000, in_cells=False, texts=n_texts)
            with serving(folder, "bento") as (port, worker, _), requests.Session() as session:
                asked_for(session, port, PHRASE)
                for words in WORDS:
                    asked = [" ".join(phrase[i : i + words]) for i in range(len(phrase) - words)] * 4
                    before = seconds_of(worker)
                    times = [asked_for(session, port, text) for text in asked]
                    processor = (seconds_of(worker) - before) / len(asked) * 1e3
                    p50, p99 = np.percentile(times, [50, 99]) * 1e3
                    row = {"items": n, "with text": n_texts, "words": words}
                    yield row | {"p50_ms": float(p50), "p99_ms": float(p99), "processor_ms": processor}


def asked_for(session: requests.Session, port: int, text: str) -> float:
    started = time.perf_counter()
    answer = session.post(f"http://127.0.0.1:{port}/recommend_for_text", json={"text": text}, timeout=30)
    answer.raise_for_status()
    return time.perf_counter() - started


def seconds_of(process: psutil.Process) -> float:
    """Return the processor time so far, which depends less on other processes than elapsed time."""
    times = process.cpu_times()
    return float(times.user + times.system)


def python(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment(folder), capture_output=True, text=True, check=True
    ).stdout


def environment(folder: Path) -> dict[str, str]:
    quiet = {"LONGTAIL_ACCESS_LOG": "off", "OPENBLAS_NUM_THREADS": "1"}
    return store.environment(folder.parent) | quiet


@contextmanager
def serving(folder: Path, server: str) -> Iterator[tuple[int, psutil.Process, float]]:
    """Yield port and worker of a server of the folder, and the seconds until it was ready."""
    port, path = smoke.free_port(), "readyz" if server == "bento" else "recommend"
    command = (
        [*store.BENTOML, "serve", "bento.service:Longtail", "--host", "127.0.0.1", "--port", str(port)]
        if server == "bento"
        else [sys.executable, str(REPO / "benchmarks" / "_bare.py"), server, str(port)]
    )
    env = environment(folder) | ({} if server == "bento" else {"PYTHONPATH": str(folder)})
    started = time.perf_counter()
    log_path = folder.with_name("server.log")
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        while not answers(f"http://127.0.0.1:{port}/{path}"):
            if process.poll() is not None:
                raise ValueError(f"the server ended: {store.tail(log_path.read_text())}")
            time.sleep(0.05)
        ready = time.perf_counter() - started
        parent = psutil.Process(process.pid)
        workers = [child for child in parent.children(recursive=True) if "worker" in " ".join(child.cmdline())]
        yield port, [parent, *workers][-1], ready
    finally:
        smoke.stop(process, folder.parent)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code in (200, 405)
    except requests.RequestException:
        return False


def batch(port: int, folder: Path) -> float:
    """Return the seconds of one call for 1,000 users, the best of three."""
    users = json.loads(_catalogue.users_of(folder).read_text("utf-8"))[:BATCH]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        answer = requests.post(f"http://127.0.0.1:{port}/recommend_batch", json={"user_ids": users}, timeout=60)
        answer.raise_for_status()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", metavar="ITEMS", help=f"catalogue sizes (default: {ITEMS})")
    parser.add_argument("--wishes", action="store_true", help="measure free-text queries instead, one at a time")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if arguments.wishes:
        found = printed("Free-text queries, one at a time", wishes())
        print(f"\nsaved in {save('serving-wishes', {'wishes': found})}")
        return
    sizes = arguments.sizes or list(ITEMS)
    title = f"Requests for ten items, {CONNECTIONS} connections, one worker; memory of the worker, histories included"
    found = printed(title, rows(sizes))
    name = "serving" if len(sizes) == len(ITEMS) else f"serving-{sizes[0]}"
    print(f"\nsaved in {save(name, {'serving': found})}")


if __name__ == "__main__":
    main()
