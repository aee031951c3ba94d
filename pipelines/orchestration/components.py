"""`python -m pipelines.orchestration.components`: run Airflow's components, and restart any that dies.

Airflow's own `standalone` leaves its components running when it is ended, does not restart a dead one, and serves logs
to the whole network. Here each component leads a process group, which ends with it: with a killed scheduler, its tasks
and their stages end before its successor retries them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn

AIRFLOW = [sys.executable, "-m", "airflow"]
COMPONENTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
BACK_OFF = 5.0  # seconds before a dead component is restarted
PATIENCE = 8.0


def main() -> None:
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    os.umask(0o077)
    subprocess.run([*AIRFLOW, "db", "migrate"], check=True)
    running = {name: start(name) for name in COMPONENTS}
    try:
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
