"""`python -m pipelines.orchestration.components`: run Airflow's components, and restart any that dies.

Airflow's own `standalone` leaves its components running when it is ended, does not restart a dead one, and serves logs
to the whole network. Here each component leads a process group, which ends with it: with a killed scheduler, its tasks
and their stages end before its successor retries them. The scheduler starts once the API server answers: each task
reports there first, and would lose an attempt otherwise.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from types import FrameType
from typing import NoReturn

AIRFLOW = [sys.executable, "-m", "airflow"]
API_SERVER, SCHEDULER = "api-server", "scheduler"
COMPONENTS = {
    API_SERVER: (API_SERVER,),
    "dag-processor": ("dag-processor",),
    # no DAG here defers; without a triggerer, Airflow's start page shows a component that is down (70 MB)
    "triggerer": ("triggerer", "--skip-serve-logs"),
    SCHEDULER: (SCHEDULER, "--skip-serve-logs"),
}
SLOTS = "LONGTAIL_AIRFLOW_STAGES"  # size of the pool of the stages; unset: they have no pool of their own
POOL = ("pools", "set", "longtail-stages")
BACK_OFF = 5.0  # seconds before a dead component is restarted
PATIENCE = 8.0


def main() -> None:
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    os.umask(0o077)
    subprocess.run([*AIRFLOW, "db", "migrate"], check=True)
    if slots := os.environ.get(SLOTS):
        subprocess.run([*AIRFLOW, *POOL, slots, "Stages that run at the same time"], check=True)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in COMPONENTS:
            if name == SCHEDULER:
                wait_for_answers(running[API_SERVER])
            running[name] = start(name)
        while True:
            for name, process in running.items():
                if process.poll() is not None:
                    print(f"{name} ended with exit status {process.returncode}; restarting it", flush=True)
                    signal_group(process, signal.SIGKILL)
                    time.sleep(BACK_OFF)
                    running[name] = start(name)
                    break
            time.sleep(0.5)
    finally:
        stop(running)


def leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def start(name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*AIRFLOW, *COMPONENTS[name]], process_group=0)


def wait_for_answers(server: subprocess.Popen[bytes]) -> None:
    """Wait until the API server answers, or has ended."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    address = os.environ["AIRFLOW__API__HOST"], os.environ["AIRFLOW__API__PORT"]
    while server.poll() is None:
        with suppress(OSError):
            direct.open("http://{}:{}/api/v2/version".format(*address), timeout=5).close()
            return
        time.sleep(0.2)


def stop(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """End all components together: SIGTERM, then the rest of their process groups."""
    for process in running.values():
        process.terminate()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and any(process.poll() is None for process in running.values()):
        time.sleep(0.1)
    for process in running.values():
        signal_group(process, signal.SIGKILL)


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    main()
