"""Real processes that are killed: what they started ends, and the next one gets the workspace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines.workspace import lock
from tests.conftest import REPO

# owns the workspace and starts a process in a session of its own, which would outlive it
OWNER = """
import subprocess, sys, time
from pathlib import Path
from pipelines.workspace import lock
with lock.hold(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print(child.pid, flush=True)
    time.sleep(600)
"""
# a supervisor that starts a task as the operator does
SUPERVISOR = """
import subprocess, sys, time
task = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True, stdout=sys.stdout)
time.sleep(600)
"""
GUARDED = """
import os, subprocess, sys, time
from pipelines.workspace import lock
lock.end_with_parent(every=0.05)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env=env, stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


def gone(pid: int, *, within: float = 10.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_what_a_killed_owner_started_ends_before_the_next_one_begins(tmp_path: Path) -> None:
    workspace = tmp_path / "run"
    owner = start(OWNER, str(workspace), "train", "1")
    (child,) = first_line(owner)
    owner.kill()
    owner.wait()
    assert psutil.pid_exists(child)
    with lock.hold(workspace, "train", 2):
        assert gone(child, within=0.1)


def test_a_later_attempt_ends_an_earlier_one_that_still_runs(tmp_path: Path) -> None:
    workspace = tmp_path / "run"
    owner = start(OWNER, str(workspace), "train", "1")
    (child,) = first_line(owner)
    with lock.hold(workspace, "train", 2):
        assert gone(owner.pid, within=0.1)
        assert gone(child, within=0.1)
    owner.wait()


def test_an_earlier_attempt_gives_way_to_a_later_one(tmp_path: Path) -> None:
    workspace = tmp_path / "run"
    owner = start(OWNER, str(workspace), "train", "2")
    first_line(owner)
    with pytest.raises(ValueError, match="attempt 2 of train owns run"), lock.hold(workspace, "train", 1):
        pass
    assert owner.poll() is None
    owner.kill()
    owner.wait()
    with lock.hold(workspace, "train", 3):
        pass


def test_another_task_waits_until_the_workspace_is_free(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = tmp_path / "run"
    owner = start(OWNER, str(workspace), "embed", "1")
    first_line(owner)
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {owner.pid}"])
    with lock.hold(workspace, "train", 1):
        assert owner.wait(5) == -signal.SIGKILL
    killer.wait()
    assert "waiting for embed" in capsys.readouterr().out


def test_a_half_written_lock_file_blocks_nobody(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text('{"task": "tra')
    with lock.hold(tmp_path / "run", "train", 1):
        pass


def test_a_lock_file_that_was_removed_with_its_run_is_made_again(tmp_path: Path) -> None:
    with lock.hold(tmp_path / "run", "clean_up", 1):
        (tmp_path / "run.lock").unlink()
    with lock.hold(tmp_path / "run", "train", 1):
        assert (tmp_path / "run.lock").is_file()


def test_a_group_ends_when_its_supervisor_is_killed() -> None:
    supervisor = start(SUPERVISOR, GUARDED)
    task, child = first_line(supervisor)
    supervisor.kill()
    supervisor.wait()
    assert gone(task)
    assert gone(child)


def test_a_process_number_that_was_given_to_another_is_not_taken_for_the_owner() -> None:
    me = psutil.Process()
    assert lock.alive({"pid": me.pid, "started": me.create_time()}) == me
    assert lock.alive({"pid": me.pid, "started": me.create_time() - 1}) is None


def test_a_process_that_has_ended_is_not_alive_though_nobody_has_waited_for_it_yet() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    owner = {"pid": child.pid, "started": psutil.Process(child.pid).create_time()}
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert lock.alive(owner) is None
    assert [process.pid for process in lock.session_of(owner)] == [child.pid]  # its number is still its own
    child.wait()
    assert lock.session_of(owner) == []
