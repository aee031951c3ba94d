"""Progress of a stage, and its exit on an error."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from pipelines.runtime import console
from tests.conftest import Workspace


def shown(seconds_per_look: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    clock = itertools.count(step=seconds_per_look)
    monkeypatch.setattr("pipelines.runtime.console.time.monotonic", lambda: next(clock))
    assert list(console.progress("train", iter("abcd"), total=4, unit="epochs")) == list("abcd")
    return capsys.readouterr().out.splitlines()


def test_what_is_done_at_once_shows_no_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(0.1, capsys, monkeypatch) == []


def test_long_work_shows_how_far_it_is_and_that_it_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(2.6, capsys, monkeypatch) == ["train: 2 of 4 epochs", "train: 4 of 4 epochs"]


def test_bad_input_ends_a_stage_with_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main() -> None:
        raise ValueError("k is 0,\n  expected 1 or more")

    monkeypatch.delenv("LONGTAIL_DEBUG", raising=False)
    with pytest.raises(SystemExit) as end:
        console.run(main, "evaluate")
    assert end.value.code == 1
    assert capsys.readouterr().err == "evaluate: error: k is 0, expected 1 or more\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "data/.x"), "change the permissions there"),
        (OSError(errno.ENOSPC, "No space left on device"), "make room on that disk, then run again"),
        (SafetensorError("I/O error: No space left on device"), "I/O error: No space left on device"),
        (OSError("the file is gone; fetch it again"), "the file is gone; fetch it again"),
    ],
)
def test_what_the_operating_system_refuses_is_one_line_with_a_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def main() -> None:
        raise error

    monkeypatch.delenv("LONGTAIL_DEBUG", raising=False)
    with pytest.raises(SystemExit, match="1"):
        console.run(main, "train")
    err = capsys.readouterr().err
    assert err.startswith("train: error: ")
    assert line in err
    assert err.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = (
        "from pipelines.runtime.console import run\n"
        "run(lambda: [print('x' * 4096, flush=True) for _ in range(99)], 'status')"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.read(10)
    writer.stdout.close()
    _, err = writer.communicate(timeout=60)
    assert err == b""
    assert writer.returncode == 141  # as the shell calls SIGPIPE


@pytest.mark.parametrize("inherited", [signal.SIG_IGN, signal.SIG_DFL])
def test_ctrl_c_ends_a_stage_and_what_it_starts_even_where_a_script_has_started_it_by_an_ampersand(
    inherited: signal.Handlers,
) -> None:
    """A shell without job control starts in the background what then ignores SIGINT, and so do its children."""
    work = "print(1, flush=True); import time; time.sleep(600)"
    code = (
        "import subprocess, sys\nfrom pipelines.runtime import console\n"
        f"console.run(lambda: subprocess.run([sys.executable, '-c', {work!r}]), 'train')"
    )
    stage = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, inherited),
    )  # fmt: skip
    assert stage.stdout
    assert stage.stdout.readline() == "1\n"
    os.killpg(stage.pid, signal.SIGINT)
    _, err = stage.communicate(timeout=60)
    assert err.endswith("train: stopped\n")
    assert stage.returncode == 130


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    def main() -> None:
        raise KeyError("user_idx")

    with pytest.raises(KeyError):
        console.run(main, "train")


@pytest.mark.parametrize("stage", ["ingest", "train"])
def test_a_disk_without_room_leaves_nothing_half_written(workspace: Workspace, stage: str) -> None:
    write = {
        "ingest": "stage.output('x').write_bytes(bytes(8192))",
        "train": "save_file({'x': np.zeros(8192)}, stage.output('x'))",
    }[stage]
    script = (
        "import resource, numpy as np\n"
        "from safetensors.numpy import save_file\n"
        "from pipelines.artifacts import outputs\n"
        "from pipelines.runtime.console import run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "def main():\n"
        f"    with outputs.stage({stage!r}) as stage:\n"
        f"        {write}\n"
        f"run(main, {stage!r})\n"
    )
    uncovered = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}  # it writes too
    done = subprocess.run([sys.executable, "-c", script], env=uncovered, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{stage}: error: ")
    assert done.stderr.count("\n") == 1
    assert list(Path("data").iterdir()) == []
