"""A version of the Bento as a local server: `longtail serve`, started or replaced, and asked before it counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pipelines import _artifacts as artifacts
from pipelines import _fence, _git, _smoke
from pipelines._params import Airflow, load
from pipelines._run_release import described
from pipelines._stage import say

PATIENCE = 15.0  # seconds to answer what was asked before a replaced server is killed


def deploy(version: str) -> dict[str, Any]:
    """Serve a version at `airflow.deployment`; ValueError, with the end of the log, where it does not become ready."""
    where, tag = load(Airflow).deployment, described(version)["bento"]
    url = f"http://{where.host}:{where.port}"
    folder = _git.state_folder() / "deployment"
    folder.mkdir(parents=True, exist_ok=True)
    with _git.held(folder / "lock"):
        if answers(url) == tag:
            say("deploy", f"{version} ({tag}) is served at {url} already")
            return {"version": version, "url": url}
        stop(folder / "server.json")
        server = start(version, where.host, where.port, folder)
        try:
            _smoke.wait_ready(url, server, where.ready_timeout)
            if (found := answers(url)) != tag:
                raise ValueError(f"{url} answers as {found}, expected {tag}; another server may listen there")
        except ValueError as error:
            stop(folder / "server.json")
            raise ValueError(f"{version} does not serve: {error}; its log is {folder / 'server.log'}") from None
    say("deploy", f"{version} ({tag}) is served at {url}, process {server.pid}")
    return {"version": version, "url": url}


def start(version: str, host: str, port: int, folder: Path) -> subprocess.Popen[bytes]:
    """`longtail serve` in a session of its own: it outlives the task, and Airflow."""
    command = [
        sys.executable,
        "-m",
        "pipelines._cli",
        "serve",
        "--version",
        version,
        "--host",
        host,
        "--port",
        str(port),
    ]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "LONGTAIL", "_AIRFLOW"))}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    started = psutil.Process(server.pid).create_time()
    artifacts.write_json(folder / "server.json", {"pid": server.pid, "started": started, "version": version})
    return server


def stop(record: Path) -> None:
    """End the server that this module has started before, if it runs, and all that it has started."""
    with suppress(FileNotFoundError, ValueError):
        process = _fence.alive(json.loads(record.read_text("utf-8")))
        if process is not None:
            family = [process, *process.children(recursive=True)]
            process.terminate()
            _, left = psutil.wait_procs(family, timeout=PATIENCE)
            _fence.end(left)
        record.unlink()


def answers(url: str) -> str | None:
    """The tag that a server answers with; None where none does."""
    with suppress(Exception):  # whatever listens there may answer anything
        tag: str = _smoke.post(url, "recommend", {"user_id": "\u0000 nobody", "k": 1})["model"]
        return tag
    return None
