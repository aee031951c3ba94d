"""Deployment on this machine: one `longtail serve`, started if it does not run, and checked for the new version.

The server follows promotions by itself, without losing a request; here it is started, and its answer awaited.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pipelines.artifacts import outputs
from pipelines.bentos import same_answers
from pipelines.orchestration.run_release import described
from pipelines.registry import tags
from pipelines.release import release
from pipelines.runtime.console import say
from pipelines.settings.airflow import Airflow
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import git, lock

FOLDER = "deployment"
OF_TASKS = (lock.MARK, lock.SUPERVISOR, "LONGTAIL_RESULT")  # variables of the task alone


def deploy(version: str | None) -> dict[str, Any]:
    """Wait until `airflow.deployment` answers as a version; raises ValueError with the log's path if it does not.

    version: None for the one that the registry lets serve now, whichever promotion led here.
    """
    if not version:
        with release.registry() as current:
            if current.serving is None:
                return {"skip": "no version serves yet; run `longtail promote` first"}
            version = current.serving.name
    where, tag = load(Airflow).deployment, described(version)["bento"]
    url = f"http://{where.host}:{where.port}"
    folder = git.state_folder() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with git.held(folder / "lock"):
        if running(folder) is None and answers(url) != tag:
            start(where.host, where.port, folder)
        end = time.monotonic() + where.ready_timeout
        while (found := answers(url)) != tag:
            serving = tags.read(load(Champion)).serving
            if serving is not None and serving.name != version:
                return {"skip": f"{serving.name} serves now, not {version}"}
            if time.monotonic() > end:
                raise ValueError(
                    f"{url} answers as {found}, expected {tag} of {version} within {where.ready_timeout} s; "
                    f"see its log {folder / 'server.log'}"
                )
            if running(folder) is None:
                raise ValueError(f"the server ended before it was ready; see its log {folder / 'server.log'}")
            time.sleep(0.5)
    say("deploy", f"{version} ({tag}) answers at {url}")
    say("deploy", "the server outlives this task and Airflow; `longtail airflow status` shows its process")
    return {"version": version, "url": url, "text": f"{version} answers at {url}"}


def start(host: str, port: int, folder: Path) -> None:
    """Start `longtail serve` in its own session, so that it outlives the task and Airflow."""
    command = [sys.executable, "-m", "pipelines.cli.main", "serve", "--host", host, "--port", str(port)]
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AIRFLOW", "_AIRFLOW", "LONGTAIL_AIRFLOW")) and key not in OF_TASKS
    }
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    record = {"pid": server.pid, "started": psutil.Process(server.pid).create_time(), "port": port}
    outputs.write_json(folder / "server.json", record)


def running(folder: Path) -> psutil.Process | None:
    """Return the server that was started here, None if it no longer runs."""
    with suppress(FileNotFoundError, ValueError):
        process = lock.alive(json.loads((folder / "server.json").read_text("utf-8")))
        if process is not None and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def answers(url: str) -> str | None:
    """Return the model tag that a server answers with; None if there is no such answer."""
    with suppress(Exception):  # another server may listen there and answer anything
        tag: str = same_answers.ask(url, "model_info", {})["model"]
        return tag
    return None
