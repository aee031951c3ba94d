"""The workers that serve one version, each on a private socket, and on command also on the public socket."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from ruamel.yaml import YAML

from pipelines.bentos import same_answers, store

WORKER = Path(__file__).with_name("worker.py")
READY_SECONDS = 60.0
END_SECONDS = 5.0  # for a worker to end after its grace period
RESPAWN_SECONDS = 2.0  # between two starts of the same worker
WRONG_SETTINGS = 78  # exit status of a worker with a wrong environment, in any version


class SettingsError(Exception):
    """The environment of the server is wrong, so that no version can be served."""


@dataclass
class Worker:
    process: subprocess.Popen[str]
    url: str
    started: float
    listens: bool = False

    def tell(self, command: str) -> None:
        with contextlib.suppress(OSError):  # it has ended, which `tend` detects
            print(command, file=self.process.stdin, flush=True)

    def is_ready(self) -> bool:
        with requests.Session() as session, contextlib.suppress(requests.RequestException):
            session.trust_env = False
            return session.get(f"{self.url}/readyz", timeout=2).ok
        return False


@dataclass
class Generation:
    """The workers of one version, from their start to their end."""

    version: str
    bento: Mapping[str, Any]  # its bento.json
    public: socket.socket
    n_workers: int
    environment: Mapping[str, str]  # in addition to the user's
    grace: float = 30.0  # seconds for open requests when it ends
    stopped: threading.Event = field(default_factory=threading.Event)  # set: abort the start
    workers: list[Worker] = field(default_factory=list)
    serves: bool = False  # True: its workers listen on the public socket
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="longtail-serve-")))

    @property
    def tag(self) -> str:
        return str(self.bento["tag"])

    @property
    def report(self) -> Path:
        """Return the path of the gate's report, for the workers to show; the file can be missing."""
        return self.folder / "report.html"

    @property
    def url(self) -> str:
        """Return the private address of a worker."""
        return self.workers[0].url

    def start(self) -> None:
        """Start all workers, wait until they are ready, and test one; raises ValueError with no worker left running."""
        try:
            self.workers = [self.spawn(number) for number in range(1, self.n_workers + 1)]
            for worker in self.workers:
                self.wait(worker)
            same_answers.check(self.url, self.bento)
        except SettingsError:
            self.end(patience=0)
            raise
        except (ValueError, OSError) as error:  # requests' errors are OSErrors
            self.end()
            raise ValueError(f"{self.version} ({self.tag}) failed its smoke test: {error}") from None

    def spawn(self, number: int) -> Worker:
        home = store.user_store()
        stored = store.folder(home, self.tag)
        private = socket.create_server(("127.0.0.1", 0), backlog=128)
        fds = (self.public.fileno(), private.fileno())
        arguments = ["--fd", str(fds[1]), "--service-name", "", "--worker-id", str(number), "--args", "{}"]
        process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), str(fds[0]), str(self.grace), self.tag, *arguments],
            env={
                **store.user_environment(home),
                **service_environment(stored),
                "PROMETHEUS_MULTIPROC_DIR": str(self.folder),
                "LONGTAIL_VERSION": self.version,
                "LONGTAIL_REPORT": str(self.report),
                **self.environment,
            },
            cwd=stored / "src",
            stdin=subprocess.PIPE,
            text=True,
            pass_fds=fds,
            start_new_session=True,  # only the supervisor handles Ctrl-C
        )
        address = private.getsockname()[1]
        private.close()  # the worker has its own copy
        return Worker(process, f"http://127.0.0.1:{address}", time.monotonic())

    def wait(self, worker: Worker) -> None:
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if (status := worker.process.poll()) == WRONG_SETTINGS:
                raise SettingsError(
                    "a setting of the server is wrong; see its log above, correct the setting and start again"
                )
            if status is not None:
                raise ValueError(f"a worker ended with exit status {status} before it was ready; see its log above")
            if self.stopped.is_set():
                raise ValueError("the server was told to stop before this version was ready")
            if worker.is_ready():
                return
            time.sleep(0.05)
        raise ValueError(f"a worker was not ready after {READY_SECONDS:g} s")

    def listen(self) -> None:
        self.serves = True
        for worker in self.workers:
            worker.tell("listen")
            worker.listens = True

    def tend(self) -> list[int]:
        """Replace ended workers, let new ones listen once they are ready, and return the statuses of the ended ones."""
        ended = []
        for number, worker in enumerate(self.workers):
            status = worker.process.poll()
            if status is not None and time.monotonic() > worker.started + RESPAWN_SECONDS:
                ended.append(status)
                self.workers[number] = self.spawn(number + 1)
            elif status is None and self.serves and not worker.listens and worker.is_ready():
                worker.tell("listen")
                worker.listens = True
        return ended

    def retire(self) -> None:
        """Accept no more requests, except on the private address."""
        self.serves = False
        for worker in self.workers:
            worker.tell("retire")
            worker.listens = False

    def drain(self) -> None:
        """Accept no more requests, and end when the open ones are answered."""
        self.serves = False
        for worker in self.workers:
            worker.tell("drain")

    def has_ended(self) -> bool:
        """Return whether all workers have ended; if so, delete their files."""
        if any(worker.process.poll() is None for worker in self.workers):
            return False
        shutil.rmtree(self.folder, ignore_errors=True)
        return True

    def stop(self) -> None:
        """Tell all workers to answer the accepted requests and to end."""
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGTERM)

    def end(self, patience: float = 0.0) -> None:
        """Kill the workers after `patience` seconds."""
        end = time.monotonic() + patience
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(end - time.monotonic(), 0))
            worker.process.kill()
            worker.process.wait()
        self.has_ended()


def service_environment(stored: Path) -> dict[str, str]:
    """Return the variables that the Bento asks for, such as one thread per search; the user's own override them."""
    described = YAML(typ="safe").load((stored / "bento.yaml").read_text("utf-8"))
    wanted = {entry["name"]: entry.get("value") for entry in described.get("envs") or []}
    return {name: str(value) for name, value in wanted.items() if value is not None and name not in os.environ}
