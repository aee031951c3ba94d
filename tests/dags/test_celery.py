"""Two Celery workers in folders of their own, which share a Git remote and a DVC remote and nothing else."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.bentos.smoke import free_port
from pipelines.workspace.runs import Run
from tests import system
from tests.clones import Clone
from tests.dags.standalone import TRAIN, Airflow, standalone
from tests.postgres import serving as postgres
from tests.test_pipeline import TINY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("LONGTAIL_FAULTS" not in os.environ, reason="set LONGTAIL_FAULTS, or `make test-faults`"),
]

# every other stage on the second worker, so that nothing is where the stage before it ran
SECOND = {name: {"queue": "second"} for name in ("validate", "embed", "champion", "gate")}
SHARING: dict[str, dict[str, Any]] = {
    "release": {"remote": "origin"},
    "airflow": {"workers": "remote", "stages": SECOND, "retry_delay": 1},
}


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """URL of an empty Redis; skips where there is none."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([system.program("redis-server"), *options], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def machine(name: str, template: Clone, origin: Path) -> Clone:
    """A clone with a cache, an Airflow home and a user of its own."""
    clone = object.__new__(Clone)
    clone.root = template.root.parent / name / "longtail"
    home = clone.root.parent / "home"
    home.mkdir(parents=True)
    own = {"HOME": str(home), "PYTHONPATH": str(clone.root), "BENTOML_HOME": str(home / "bentoml")}
    clone.env = {**template.env, **own}
    subprocess.run(["git", "clone", "-q", str(origin), str(clone.root)], check=True, env=clone.env)
    return clone


@contextmanager
def worker(clone: Clone, airflow: Airflow, queue: str) -> Iterator[None]:
    command = [sys.executable, "-m", "pipelines.cli.main", "airflow", "worker", "--api", airflow.url, "--queues", queue]
    env = {**clone.env, "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port())}
    with (clone.root.parent / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--name", queue], cwd=clone.root, env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def test_stages_of_one_run_are_shared_by_workers_who_share_git_and_a_dvc_remote_alone(tmp_path: Path) -> None:
    template = Clone(tmp_path / "template")
    template.params({**TINY, **SHARING})
    template.dvc("remote", "add", "-d", "shared", str(tmp_path / "dvc"))
    template.git("add", "-A")
    template.commit("how it is shared")
    template.git("clone", "-q", "--bare", ".", str(tmp_path / "origin.git"))
    with ExitStack() as running:
        template.env |= {
            "LONGTAIL_AIRFLOW_DB": running.enter_context(postgres()),
            "LONGTAIL_AIRFLOW_BROKER": running.enter_context(redis(tmp_path)),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
        }
        control, first, second = (machine(name, template, tmp_path / "origin.git") for name in ("c", "w1", "w2"))
        airflow = running.enter_context(standalone(control))
        running.enter_context(worker(first, airflow, "default"))
        running.enter_context(worker(second, airflow, "second"))
        run_id = airflow.trigger(TRAIN)
        airflow.finish(TRAIN, run_id)
        tasks = airflow.tasks(TRAIN, run_id)
        report = airflow.session.get(f"{airflow.url}/longtail/report", params={"run_id": run_id})
    assert {tasks[name]["queue"] for name in SECOND} == {"second"}
    assert tasks["train"]["queue"] == "default"
    ref = Run(run_id, None).ref
    published = subprocess.run(
        ["git", "-C", str(tmp_path / "origin.git"), "log", "--format=%s", ref],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(f"{name} of {run_id}" in published for name in ("ingest", "embed", "gate", "package"))
    assert "v1.0.0" in first.longtail("status")  # promoted there, known to all by the remote's tags
    assert "<html" in report.text
    for clone in (first, second):
        assert not list((clone.root / ".longtail" / "runs").iterdir())
    assert not (control.root / ".dvc" / "cache").exists()  # where nothing ran


def test_a_worker_is_told_what_it_lacks(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "longtail")
    printed = clone.longtail("airflow", "worker", "--api", "http://127.0.0.1:1", status=1)
    assert "LONGTAIL_AIRFLOW_BROKER" in printed
    assert len(printed.splitlines()) == 1
