"""A checkout with versions whose Bentos are real: what `longtail serve` needs, without a pipeline having run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
from ruamel.yaml import YAML

from pipelines.artifacts import outputs, recipe
from pipelines.bentos.smoke import free_port
from pipelines.registry import tags, version_files
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import git as repository
from tests.conftest import REPO
from tests.judged import USER_IDS
from tests.pipelines.releases import git


def register(name: str, package: Path, changes: Mapping[str, Any] | None = None) -> str:
    """Register a version of the checkout around; its bento.json with `changes`. Returns the tag of its Bento."""
    verdict = package.parent / "gate" / "verdict.json"
    bento = outputs.read_json(package / "bento.json") | dict(changes or {})
    archive = package / "longtail.tar"
    record = {
        "version": name,
        "replaced": None,
        "digests": bento["digests"],
        "files": {version_files.ARCHIVE.as_posix(): outputs.sha256(archive)},
    }
    lock: dict[str, Any] = {"schema": "2.0", "stages": {}}
    if Path("dvc.lock").exists():
        lock = YAML(typ="safe").load(Path("dvc.lock").read_text())
    runs = {stage: {"cmd": "exit 1"} for stage in recipe.stages()} | lock["stages"]
    files = {
        version_files.RECORD: json.dumps(record).encode(),
        version_files.VERDICT: verdict.read_bytes(),
        version_files.BENTO: json.dumps(bento).encode(),
        "dvc.lock": json.dumps(lock | {"stages": runs}).encode(),
    }
    commit = repository.commit_tree(
        repository.snapshot(always=[], folders=[], files=files), parent=repository.head(), message=name
    )
    kept = repository.state_folder() / "releases" / name
    kept.mkdir(parents=True)
    shutil.copy(archive, kept)
    tag = f"longtail@{name}"
    tags.publish({f"refs/tags/{tag}": repository.make_tag(tag, commit, message=name, time=1_700_000_000)}, None)
    return str(bento["tag"])


def assign(name: str) -> None:
    """Let a version serve, as a promotion or a rollback does."""
    registry = tags.read(load(Champion))
    tag, commit = registry.assignment_tag(), registry.version(name).commit
    tags.publish({f"refs/tags/{tag}": repository.make_tag(tag, commit, message=name, time=1_700_000_000)}, None)


class Serving:
    """`longtail serve` in a checkout, on a port of its own."""

    def __init__(self, root: Path, home: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / f"serve-{self.port}.log"
        self.root, self.arguments = root, arguments
        self.env = env or {**os.environ, "PYTHONPATH": str(REPO), "BENTOML_HOME": str(home)}
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "pipelines.cli.main", "serve", "--port", str(self.port), *self.arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.root, env=self.env, stdout=log, stderr=log)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def end(self) -> None:
        """Whatever has happened, nothing is left."""
        left = self.workers()
        self.process.kill()
        self.process.wait()
        for worker in left:
            if worker.is_running():
                worker.kill()

    def workers(self) -> list[psutil.Process]:
        try:
            return list(psutil.Process(self.process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def model(self) -> str | None:
        """Return the tag of the model that answers; None if none does."""
        try:
            return str(requests.post(f"{self.url}/model_info", json={}, timeout=30).json()["model"])
        except requests.RequestException:
            return None

    def wait_for(self, what: str, seconds: float = 90) -> None:
        """Wait until a model answers, or the log says something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.text()
            if self.model() == what if what.startswith("longtail:") else what in self.text():
                return
            time.sleep(0.1)
        raise AssertionError(f"{what} never came; the log is:\n{self.text()}")

    def text(self) -> str:
        return self.log.read_text("utf-8", "replace")


@dataclass
class Load:
    """Clients that ask again and again: some keep their connection, some open one for each request."""

    url: str
    pause: float = 0.002  # seconds
    models: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self.ask, args=(n < 3,)) for n in range(5)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, model: str, answers: int = 1, seconds: float = 60) -> None:
        """Wait until these clients, which pause between their requests, have had answers of a model."""
        end = time.monotonic() + seconds
        while self.models[model] < answers:
            assert time.monotonic() < end, f"{model} gave {self.models[model]} of {answers} answers: {self.models}"
            time.sleep(0.02)

    def ask(self, keeps: bool) -> None:
        session = requests.Session()
        while not self._stop.is_set():
            post = session.post if keeps else requests.post
            try:
                answer = post(f"{self.url}/recommend", json={"user_id": USER_IDS[0], "k": 5}, timeout=30)
                if answer.status_code != 200 or len(answer.json()["items"]) != 5:
                    self.failures.append(f"{answer.status_code}: {answer.text[:200]}")
                self.models[answer.json().get("model", "none")] += 1
            except requests.RequestException as error:
                self.failures.append(repr(error))
            time.sleep(self.pause)


def head(root: Path) -> str:
    return git(root, "rev-parse", "HEAD")
