"""Locks of workspaces: one task at a time; processes left by an earlier task are ended first.

The file lock of a workspace is released whenever its process ends, but processes started by it may outlive it, even in
sessions of their own: MARK in their environment identifies them.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil

from pipelines.runtime.console import say

MARK = "LONGTAIL_WORKSPACE"
SUPERVISOR = "LONGTAIL_SUPERVISOR"  # process that supervises the parent of this one
NAME = "fence"


@contextmanager
def hold(workspace: Path, task: str, attempt: int = 1) -> Iterator[None]:
    """Own a workspace: waits for another task that owns it, ends an earlier attempt of the same task."""
    path = workspace.with_name(f"{workspace.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with acquired(path, task, attempt) as file:
        me = psutil.Process()
        file.seek(0)
        file.truncate()
        json.dump({"task": task, "attempt": attempt, "pid": me.pid, "started": me.create_time()}, file)
        file.flush()
        end(marked(workspace))
        os.environ[MARK] = str(workspace)
        try:
            yield
        finally:
            os.environ.pop(MARK, None)
            end(marked(workspace))
            file.truncate(0)


@contextmanager
def acquired(path: Path, task: str, attempt: int) -> Iterator[IO[str]]:
    """Yield the locked lock file; raises ValueError if a later attempt of the same task owns it."""
    logged = False
    while True:
        with path.open("a+") as file:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_at(file, path):
                    yield file
                    return
                continue  # removed together with the workspace
            owner = owner_of(file)
        if owner.get("task") == task and owner.get("attempt", 0) > attempt:
            raise ValueError(f"attempt {owner['attempt']} of {task} owns {path.stem}, and this is attempt {attempt}")
        if owner.get("task") == task:
            say(NAME, f"ending attempt {owner['attempt']} of {task}, process {owner['pid']}, which still runs")
            end([process for process in [alive(owner)] if process])
        elif not logged:
            say(NAME, f"waiting for {owner.get('task', 'another task')} in {path.stem}")
            logged = True
        time.sleep(0.2)


def is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def owner_of(file: IO[str]) -> dict[str, Any]:
    """Return the recorded owner of a lock; empty if it has not been written yet, or only in part."""
    file.seek(0)
    try:
        owner: dict[str, Any] = json.loads(file.read())
    except ValueError:
        return {}
    return owner


def alive(owner: dict[str, Any]) -> psutil.Process | None:
    """Return the process of an owner; None if it has ended; a zombie has ended."""
    process = process_of(owner)
    with suppress(psutil.NoSuchProcess):
        return process if process and process.status() != psutil.STATUS_ZOMBIE else None
    return None


def process_of(owner: dict[str, Any]) -> psutil.Process | None:
    """Return the process with an owner's PID; None if the PID was reused."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(owner["pid"])
        if process.create_time() == owner["started"]:
            return process
    return None


def session_of(owner: dict[str, Any]) -> list[psutil.Process]:
    """Return the processes of the session that an owner leads or led; its id is not reused before they end."""
    if not owner["pid"] or (process_of(owner) is None and psutil.pid_exists(owner["pid"])):
        return []  # the PID was reused, so the session is over
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == owner["pid"]:
                found.append(process)
    return found


def marked(workspace: Path) -> list[psutil.Process]:
    """Return the processes that were started for a workspace, except this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(workspace):
                found.append(process)
    return found


def end(processes: Iterable[psutil.Process], *, timeout: float = 5.0) -> None:
    """Kill processes and wait until they end; their unfinished outputs are never trusted."""
    for process in (ending := list(processes)):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, left = psutil.wait_procs(ending, timeout=timeout)
    if stuck := [process.pid for process in left if process.status() != psutil.STATUS_ZOMBIE]:
        raise OSError(f"processes {stuck} were killed but do not end; a disk may hang")


def end_with_parent(every: float = 0.5) -> None:
    """End this process group from now on as soon as its parent process, or the parent's supervisor, is gone.

    Does nothing if this process does not lead its group, as in a terminal.
    """
    if os.getpgrp() != os.getpid():
        return
    watched = [psutil.Process(os.getppid())]
    if supervisor := os.environ.pop(SUPERVISOR, None):
        watched.append(psutil.Process(int(supervisor)))

    def watch() -> None:
        while all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in watched):
            time.sleep(every)
        if workspace := os.environ.get(MARK):
            end(marked(Path(workspace)))
        os.killpg(0, signal.SIGKILL)

    def guarded() -> None:
        with suppress(psutil.NoSuchProcess):
            watch()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=guarded, daemon=True).start()
