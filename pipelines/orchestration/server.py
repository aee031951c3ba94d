"""`longtail airflow up | down | status | worker`: a complete Airflow on this machine, on loopback."""

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
from pipelines.orchestration import components
from pipelines.privacy import modes
from pipelines.privacy.shown import shown
from pipelines.runtime import cores
from pipelines.runtime.console import say
from pipelines.settings.airflow import Airflow as Section
from pipelines.settings.document import load
from pipelines.workspace import git, lock

NAME = "longtail"
HOST, PORT = "127.0.0.1", 8080
DB, BROKER = "LONGTAIL_AIRFLOW_DB", "LONGTAIL_AIRFLOW_BROKER"
EXECUTOR = "AIRFLOW__CORE__EXECUTOR"
PASSWORDS = "passwords.json"
STARTING, STOPPING = 600.0, 20.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="up | down | status | worker")
    start = actions.add_parser("up", help="start it, and print its address and login")
    start.add_argument("--port", type=int, default=PORT, help="port of the web page and the API (default: %(default)s)")
    start.set_defaults(act=lambda arguments: up(arguments.port))
    actions.add_parser("down", help="stop it and all processes it has started").set_defaults(act=lambda _: down())
    actions.add_parser("status", help="show its processes and addresses").set_defaults(act=lambda _: status())
    work = actions.add_parser("worker", help="run tasks of an Airflow on another machine (Celery), until stopped")
    work.add_argument("--api", required=True, metavar="URL", help="its address, such as http://10.0.0.1:8080")
    work.add_argument("--queues", default="default", help="queues to take tasks from (default: %(default)s)")
    work.add_argument("--name", default="worker", help="name of this worker, if a machine has several")
    work.add_argument("--concurrency", type=int, default=2, help="number of tasks at a time (default: %(default)s)")
    work.set_defaults(act=worker)


def run_airflow(arguments: argparse.Namespace) -> None:
    arguments.act(arguments)


def home() -> Path:
    """Return AIRFLOW_HOME from the environment, or `.longtail/airflow`."""
    named = os.environ.get("AIRFLOW_HOME")
    return Path(named).absolute() if named else git.state_folder() / "airflow"


def up(port: int) -> None:
    """Start all components and wait until runs can be triggered; raises ValueError after printing the log's end."""
    folder = home()
    record = recorded(folder)
    if lock.alive(record):
        say(NAME, f"Airflow already runs at http://{HOST}:{record['port']}; `longtail airflow down` stops it")
        return
    lock.end(lock.session_of(record))  # leftovers of a killed one
    require_free(port)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    environment = settings(folder, port)
    say(NAME, f"starting Airflow in {folder}; this takes half a minute, longer the first time")
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
            raise ValueError(f"port {port} is not available ({error.strerror}); choose another with --port") from None


def settings(folder: Path, port: int) -> dict[str, str]:
    """Return the environment of Airflow; variables that are set keep their values, except the listening address."""
    # SQLite has one writer: on a busy machine others wait longer than the default of five seconds
    database = os.environ.get(DB) or f"sqlite:///{folder / 'airflow.db'}?timeout=60"
    dags = Path.cwd() / "dags"
    local = os.environ.get(EXECUTOR, "LocalExecutor") == "LocalExecutor" and not os.environ.get(BROKER)
    slots = load(Section).parallel_stages or (cores.stages() if local else None)
    ours = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__PLUGINS_FOLDER": str(dags / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "CeleryExecutor" if os.environ.get(BROKER) else "LocalExecutor",
        "CORE__PARALLELISM": str(max(8, slots + 4) if slots and local else 32),
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
        # tasks of a killed scheduler or worker are adopted after half a minute, instead of five
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        "WORKERS__EXECUTION_API_TIMEOUT": "30",
        "LOGGING__LOGGING_LEVEL": "INFO",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    if database.startswith("postgresql"):
        ours["DATABASE__SQL_ALCHEMY_CONN_ASYNC"] = database  # psycopg has both APIs; Airflow would look for asyncpg
    if broker := os.environ.get(BROKER):
        ours |= {"CELERY__BROKER_URL": broker, "CELERY__RESULT_BACKEND": f"db+{database}"}
    pool = {} if slots is None else {components.SLOTS: str(slots)}
    fixed = {"API__HOST": HOST, "API__PORT": str(port)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {
        **{f"AIRFLOW__{key}": value for key, value in ours.items()},
        **pool,
        **os.environ,
        **{f"AIRFLOW__{key}": value for key, value in fixed.items()},
        "AIRFLOW_HOME": str(folder),
        "PATH": path,
    }


def secret(folder: Path, name: str) -> str:
    """Return a secret kept across restarts, readable by its owner alone; a variable sets it for several machines."""
    path = folder / f"{name}.secret"
    if not path.is_file():
        with outputs.written(path, mode=0o600) as partial:  # a process killed here leaves no empty secret
            partial.write_text(secrets.token_urlsafe(48), "ascii")
    return path.read_text("ascii")


def wait_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until all components are healthy and the DAG is loaded."""
    end = time.monotonic() + STARTING
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < end:
            if process.poll() is not None:
                raise ValueError(
                    f"Airflow ended with exit status {process.returncode} during startup; see the end of its log above"
                )
            with suppress(requests.RequestException, ValueError):
                health = session.get(f"http://{HOST}:{port}/api/v2/monitor/health", timeout=5).json()
                if all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor")):
                    return
            time.sleep(0.5)
    raise ValueError(f"Airflow was not ready after {STARTING:.0f} s; see the end of its log above")


def signing_in(folder: Path, port: int) -> Iterator[str]:
    yield f"Airflow is at http://{HOST}:{port}"
    with suppress(OSError, ValueError):
        for user, password in json.loads((folder / PASSWORDS).read_text("utf-8")).items():
            yield f"sign in as {user} with the password {password}"
    yield f"log: {folder / 'airflow.log'}; stop Airflow with `longtail airflow down`"


def recorded(folder: Path) -> dict[str, Any]:
    """Return the record of the last start of Airflow; process 0, which does not exist, if there was none."""
    try:
        record: dict[str, Any] = json.loads((folder / "running.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {"pid": 0, "started": 0.0, "port": PORT}
    return record


def down() -> None:
    """Stop all components gracefully, then kill leftovers; stages end with the tasks that started them."""
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
    from pipelines.orchestration import deployment  # imports the registry, which takes half a second

    if (server := deployment.running(git.state_folder() / deployment.FOLDER)) is not None:
        say(NAME, f"`longtail serve`, started by the DAG `deploy`, keeps running; `kill {server.pid}` ends it")


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
        say(NAME, f"{part}: {state['status'] or 'missing'}")


def worker(arguments: argparse.Namespace) -> None:
    """Become a Celery worker of the Airflow at `--api`, with its LONGTAIL_AIRFLOW_DB and LONGTAIL_AIRFLOW_BROKER."""
    if not os.environ.get(BROKER) or not os.environ.get(DB):
        raise ValueError(f"{BROKER} or {DB} is not set; use the values of the machine that runs `longtail airflow up`")
    if "AIRFLOW__API_AUTH__JWT_SECRET" not in os.environ:
        raise ValueError("AIRFLOW__API_AUTH__JWT_SECRET is not set; use the secret of the API server")
    folder = home()
    modes.folder(folder)
    environment = settings(folder, PORT)
    environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{arguments.api.rstrip('/')}/execution/"
    command = ["celery", "worker", "--queues", arguments.queues, "--concurrency", str(arguments.concurrency)]
    command += ["--celery-hostname", f"{arguments.name}@%h"]
    os.execve(sys.executable, [sys.executable, "-m", "airflow", *command], environment)
