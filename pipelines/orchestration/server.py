"""`longtail airflow up | down | status`: a whole Airflow on this machine, on loopback."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from pipelines.artifacts import outputs
from pipelines.privacy import modes
from pipelines.privacy.shown import shown
from pipelines.runtime.console import say
from pipelines.workspace import git, lock

NAME = "longtail"
HOST, PORT = "127.0.0.1", 8080
DB, BROKER = "LONGTAIL_AIRFLOW_DB", "LONGTAIL_AIRFLOW_BROKER"
PASSWORDS = "passwords.json"
STARTING, STOPPING = 600.0, 20.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="up | down | status | worker")
    start = actions.add_parser("up", help="start it, and say where and how to sign in")
    start.add_argument("--port", type=int, default=PORT, help="of the web page and the API (default: %(default)s)")
    start.set_defaults(act=lambda arguments: up(arguments.port))
    actions.add_parser("down", help="stop it, and all that it has started").set_defaults(act=lambda _: down())
    actions.add_parser("status", help="say what runs, where").set_defaults(act=lambda _: status())
    work = actions.add_parser("worker", help="work for an Airflow elsewhere (Celery), until stopped")
    work.add_argument("--api", required=True, metavar="URL", help="of that Airflow, such as http://10.0.0.1:8080")
    work.add_argument("--queues", default="default", help="to take tasks from (default: %(default)s)")
    work.add_argument("--name", default="worker", help="of this worker, where a machine has several")
    work.add_argument("--concurrency", type=int, default=2, help="tasks at a time (default: %(default)s)")
    work.set_defaults(act=worker)


def run_airflow(arguments: argparse.Namespace) -> None:
    arguments.act(arguments)


def home() -> Path:
    """AIRFLOW_HOME: the one in the environment, else `.longtail/airflow`."""
    named = os.environ.get("AIRFLOW_HOME")
    return Path(named).absolute() if named else git.state_folder() / "airflow"


def up(port: int) -> None:
    """Start every component and wait until runs can be triggered; ValueError, with the log's end, where that fails."""
    folder = home()
    record = recorded(folder)
    if lock.alive(record):
        say(NAME, f"Airflow runs already, at http://{HOST}:{record['port']}; stop it by `longtail airflow down`")
        return
    lock.end(lock.session_of(record))  # what one that was killed has left
    require_free(port)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    environment = settings(folder, port)
    say(NAME, f"starting Airflow in {folder}; this takes half a minute, the first time longer")
    with (folder / "airflow.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.orchestration.components"],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    record = {"pid": process.pid, "started": psutil.Process(process.pid).create_time(), "port": port}
    outputs.write_json(folder / "running.json", record)
    try:
        wait_ready(process, port)
    except (ValueError, KeyboardInterrupt):
        down()
        end = "\n".join((folder / "airflow.log").read_text("utf-8", "replace").splitlines()[-15:])
        print(shown(end, lines=True), file=sys.stderr)
        raise
    for line in signing_in(folder, port):
        say(NAME, line)


def require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ValueError(f"port {port} is taken ({error.strerror}); name another by --port") from None


def settings(folder: Path, port: int) -> dict[str, str]:
    """The environment that makes Airflow what it is here; what is set already stays, but for where it listens."""
    # SQLite has one writer: on a busy machine the others wait for longer than its own five seconds
    database = os.environ.get(DB) or f"sqlite:///{folder / 'airflow.db'}?timeout=60"
    dags = Path.cwd() / "dags"
    ours = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__PLUGINS_FOLDER": str(dags / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "CeleryExecutor" if os.environ.get(BROKER) else "LocalExecutor",
        "CORE__PARALLELISM": "8",
        "CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / PASSWORDS),
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "2",
        "DATABASE__SQL_ALCHEMY_CONN": database,
        "API__BASE_URL": f"http://{HOST}:{port}",
        "API_AUTH__JWT_SECRET": secret(folder, "jwt"),
        "API__SECRET_KEY": secret(folder, "session"),
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        # what a killed scheduler or task leaves is taken up after half a minute, not after five
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        "WORKERS__EXECUTION_API_TIMEOUT": "30",
        "LOGGING__LOGGING_LEVEL": "INFO",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    if database.startswith("postgresql"):
        ours["DATABASE__SQL_ALCHEMY_CONN_ASYNC"] = database  # psycopg speaks both; Airflow would look for asyncpg
    if broker := os.environ.get(BROKER):
        ours |= {"CELERY__BROKER_URL": broker, "CELERY__RESULT_BACKEND": f"db+{database}"}
    fixed = {"API__HOST": HOST, "API__PORT": str(port)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {
        **{f"AIRFLOW__{key}": value for key, value in ours.items()},
        **os.environ,
        **{f"AIRFLOW__{key}": value for key, value in fixed.items()},
        "AIRFLOW_HOME": str(folder),
        "PATH": path,
    }


def secret(folder: Path, name: str) -> str:
    """A secret that outlives restarts, readable by its owner alone; that of the environment for several machines."""
    path = folder / f"{name}.secret"
    if not path.is_file():
        with outputs.written(path, mode=0o600) as partial:  # one that is killed here leaves no empty secret
            partial.write_text(secrets.token_urlsafe(48), "ascii")
    return path.read_text("ascii")


def wait_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Until every component is healthy and the DAG is known."""
    end = time.monotonic() + STARTING
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < end:
            if process.poll() is not None:
                raise ValueError(
                    f"Airflow ended with status {process.returncode} while it started; its log's end is above"
                )
            with suppress(requests.RequestException, ValueError):
                health = session.get(f"http://{HOST}:{port}/api/v2/monitor/health", timeout=5).json()
                if all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor")):
                    return
            time.sleep(0.5)
    raise ValueError(f"Airflow was not ready after {STARTING:.0f} s; its log's end is above")


def signing_in(folder: Path, port: int) -> Iterator[str]:
    yield f"Airflow is at http://{HOST}:{port}"
    with suppress(OSError, ValueError):
        for user, password in json.loads((folder / PASSWORDS).read_text("utf-8")).items():
            yield f"sign in as {user} with the password {password}"
    yield f"the log is {folder / 'airflow.log'}; `longtail airflow down` stops it"


def recorded(folder: Path) -> dict[str, Any]:
    """What was written when Airflow was started last; process 0, which is none, where it never was."""
    try:
        record: dict[str, Any] = json.loads((folder / "running.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {"pid": 0, "started": 0.0, "port": PORT}
    return record


def down() -> None:
    """Stop every component in order, then whatever is left of it; stages end with the tasks that have started them."""
    folder = home()
    record = recorded(folder)
    ran = lock.session_of(record)
    if (process := lock.alive(record)) is not None:
        process.send_signal(signal.SIGTERM)
        with suppress(psutil.TimeoutExpired):
            process.wait(STOPPING)
    lock.end(lock.session_of(record))
    (folder / "running.json").unlink(missing_ok=True)
    say(NAME, "Airflow is stopped" if ran else "Airflow does not run")
    tell_of_deployment()


def tell_of_deployment() -> None:
    from pipelines.orchestration import deployment  # the registry, which takes half a second

    if (server := deployment.running(git.state_folder() / deployment.FOLDER)) is not None:
        say(NAME, f"`longtail serve`, which the DAG `deploy` started, runs on by itself; `kill {server.pid}` ends it")


def status() -> None:
    folder = home()
    record = recorded(folder)
    tell_of_deployment()
    if lock.alive(record) is None:
        say(NAME, "Airflow does not run; `longtail airflow up` starts it")
        return
    for line in signing_in(folder, record["port"]):
        say(NAME, line)
    with requests.Session() as session:
        session.trust_env = False
        health = session.get(f"http://{HOST}:{record['port']}/api/v2/monitor/health", timeout=10).json()
    for part, state in health.items():
        say(NAME, f"{part}: {state['status'] or 'not there'}")


def worker(arguments: argparse.Namespace) -> None:
    """Become a Celery worker, for the Airflow at `--api`; LONGTAIL_AIRFLOW_DB and LONGTAIL_AIRFLOW_BROKER as there."""
    if not os.environ.get(BROKER) or not os.environ.get(DB):
        raise ValueError(f"{BROKER} and {DB} name nothing; set them as where `longtail airflow up` was run")
    if "AIRFLOW__API_AUTH__JWT_SECRET" not in os.environ:
        raise ValueError("AIRFLOW__API_AUTH__JWT_SECRET is not set; take the secret that the API server has")
    folder = home()
    modes.folder(folder)
    environment = settings(folder, PORT)
    environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{arguments.api.rstrip('/')}/execution/"
    command = ["celery", "worker", "--queues", arguments.queues, "--concurrency", str(arguments.concurrency)]
    command += ["--celery-hostname", f"{arguments.name}@%h"]
    os.execve(sys.executable, [sys.executable, "-m", "airflow", *command], environment)
