"""The smoke test notices a wrong server, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipelines.artifacts import outputs
from pipelines.bentos import smoke, store
from tests import judged
from tests.conftest import REPO, Workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def home(packaged: Path, tmp_path: Path) -> Path:
    """A store that holds the packaged Bento."""
    store.run("import", str(packaged / "longtail.tar"), env=store.environment(tmp_path))
    return tmp_path


@pytest.fixture
def tag(packaged: Path) -> str:
    return str(outputs.read_json(packaged / "bento.json")["tag"])


def probe(seed: int = 0, user: int = 0) -> smoke.Probe:
    history = np.array(judged.history(user), np.int32)
    return smoke.Probe(judged.factors(seed), judged.ITEM_IDS, judged.USER_IDS[user], history)


def running(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder or name it in what they were started with."""
    found = []
    for process in psutil.process_iter(["cwd", "environ"]):
        places = [process.info["cwd"] or "", *(process.info["environ"] or {}).values()]
        if any(str(folder) in place for place in places) and process.pid != os.getpid():
            found.append(process)
    return found


def test_wrong_answers_fail_and_right_ones_pass_and_no_process_is_left(home: Path, tag: str) -> None:
    with smoke.serving(tag, home=home, timeout=60) as url:
        assert len(running(home)) >= 2  # a supervisor and a worker
        assert smoke.ask(url, tag, probe())["malformed_request"] == {"status": 400}
        with pytest.raises(ValueError, match="the model's best are"):
            smoke.ask(url, tag, probe(seed=1))
        with pytest.raises(ValueError, match="expected longtail:other"):
            smoke.ask(url, "longtail:other", probe())
        shorter = smoke.Probe(judged.factors(), judged.ITEM_IDS, judged.USER_IDS[0], probe().history[:-1])
        with pytest.raises(ValueError, match="the model's best are"):  # the server hides one item more
            smoke.ask(url, tag, shorter)
    assert running(home) == []


def test_a_user_who_has_seen_everything_must_be_answered_with_nothing() -> None:
    everything = np.arange(len(judged.ITEM_IDS), dtype=np.int32)
    seen = smoke.Probe(judged.factors(), judged.ITEM_IDS, judged.USER_IDS[0], everything)
    smoke.compare({"model": "longtail:1", "items": []}, seen, everything, "longtail:1")
    one = {"model": "longtail:1", "items": [{"item_id": judged.ITEM_IDS[0]}]}
    with pytest.raises(ValueError, match=r"recommends \[0\]"):
        smoke.compare(one, seen, everything, "longtail:1")


def test_a_failure_shows_the_end_of_the_log_and_leaves_no_process(home: Path, tag: str) -> None:
    failure = pytest.raises(
        ValueError, match=r"smoke test of .* failed: no such item; the server's log ends: .*initialized"
    )
    with failure, smoke.serving(tag, home=home, timeout=60):
        raise ValueError("no such item")
    assert running(home) == []


def test_workers_of_a_killed_supervisor_are_ended_too(home: Path, tag: str) -> None:
    with smoke.serving(tag, home=home, timeout=60):
        workers = [process for process in running(home) if "worker" in " ".join(process.cmdline())]
        supervisor = workers[0].parent()
        assert supervisor is not None
        supervisor.kill()
        supervisor.wait()
        assert workers[0].is_running()
    assert running(home) == []


def test_ending_the_stage_ends_its_server(workspace: Workspace) -> None:
    judged.write()
    temp = workspace.root / "temp"
    temp.mkdir()
    env = {**os.environ, "TMPDIR": str(temp), "PYTHONPATH": str(REPO)}
    stage = subprocess.Popen([sys.executable, "-P", "-m", "pipelines.package"], env=env, stdout=subprocess.DEVNULL)
    while not list(temp.glob("*/smoke/server.log")):
        assert stage.poll() is None, "the stage ended before its server started"
        time.sleep(0.05)
    time.sleep(1)
    assert running(temp)
    stage.send_signal(signal.SIGTERM)
    assert stage.wait(30) == 128 + signal.SIGTERM
    assert running(temp) == []
    assert list(temp.iterdir()) == []
    assert not Path("data/package").exists()
