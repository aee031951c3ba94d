"""A real Airflow in a clone of the project, spoken to as anybody would: by the command line and the REST API."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psutil
import requests

from pipelines.bentos.smoke import free_port
from pipelines.workspace import lock
from tests.clones import Clone

TRAIN = "train_recommender"
PATIENCE = 900.0  # seconds, on a machine that has other things to do


class Airflow:
    """A running Airflow, signed in as its admin."""

    def __init__(self, clone: Clone, port: int) -> None:
        self.clone, self.url, self.session = clone, f"http://127.0.0.1:{port}", requests.Session()
        self.session.trust_env = False
        self.home = clone.root / ".longtail" / "airflow"
        ((self.user, self.password),) = json.loads((self.home / "passwords.json").read_text()).items()
        answer = self.session.post(f"{self.url}/auth/token", json={"username": self.user, "password": self.password})
        assert answer.status_code == 201, answer.text
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def processes(self) -> list[psutil.Process]:
        """All of its own, without the stages' process groups."""
        return lock.session_of(json.loads((self.home / "running.json").read_text()))

    def call(self, method: str, path: str, body: Any = None) -> requests.Response:
        return self.session.request(method, f"{self.url}/api/v2/{path}", json=body, timeout=120)

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.ok, answer.text
        return answer.json()

    def trigger(self, dag: str, **conf: Any) -> str:
        answer = self.call("POST", f"dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})
        assert answer.ok, answer.text
        run_id: str = answer.json()["dag_run_id"]
        return run_id

    def run(self, dag: str, run_id: str) -> Any:
        return self.get(f"dags/{dag}/dagRuns/{quote(run_id)}")

    def tasks(self, dag: str, run_id: str) -> dict[str, Any]:
        """Task instances by the last part of their id."""
        found = self.get(f"dags/{dag}/dagRuns/{quote(run_id)}/taskInstances")["task_instances"]
        return {task["task_id"].rpartition(".")[2]: task for task in found}

    def states(self, dag: str, run_id: str) -> dict[str, str]:
        return {name: task["state"] for name, task in self.tasks(dag, run_id).items()}

    def log(self, dag: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        path = f"dags/{dag}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/logs/{attempt}"
        lines = self.get(path)["content"]
        return "\n".join(f"{line.get('event')} {line.get('reason', '')}" for line in lines)  # why a task was skipped

    def finish(self, dag: str, run_id: str, state: str = "success") -> Any:
        """Wait until a run has ended, as it must, in this state."""
        run = self.until(
            lambda: found if (found := self.run(dag, run_id))["state"] in ("success", "failed") else None,
            seen=lambda: self.states(dag, run_id),
        )
        assert run["state"] == state, self.states(dag, run_id)
        return run

    def reach(self, dag: str, run_id: str, task: str, state: str) -> Any:
        """Wait until a task is in a state."""
        return self.until(
            lambda: found if (found := self.tasks(dag, run_id)[task])["state"] == state else None,
            seen=lambda: self.states(dag, run_id),
        )

    def latest(self, dag: str, *, after: int = 0) -> str:
        """The newest run of a DAG, once there are more than `after`."""

        def newest() -> str | None:
            found = self.get(f"dags/{dag}/dagRuns?order_by=-run_after&limit=100")
            return found["dag_runs"][0]["dag_run_id"] if found["total_entries"] > after else None

        run_id: str = self.until(newest)
        return run_id

    def until(self, found: Any, *, seen: Callable[[], object] = dict) -> Any:
        """Wait for `found` to find anything; `seen` tells what there was instead."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if (value := found()) is not None:
                return value
            time.sleep(0.5)
        raise AssertionError(f"it did not happen in time; seen last: {seen()}")


@contextmanager
def standalone(clone: Clone, environment: Mapping[str, str] | None = None) -> Iterator[Airflow]:
    """`longtail airflow up`, then `down` whatever happens."""
    clone.env |= environment or {}
    port = free_port()
    try:
        printed = clone.longtail("airflow", "up", "--port", str(port))
        assert f"Airflow is at http://127.0.0.1:{port}" in printed
        airflow = Airflow(clone, port)
        airflow.until(lambda: True if airflow.get("dags")["total_entries"] >= 5 else None)
        assert airflow.get("importErrors")["import_errors"] == []
        yield airflow
    finally:
        subprocess.run([sys.executable, "-m", "pipelines.cli.main", "airflow", "down"], cwd=clone.root, env=clone.env)
