"""kill -9 of a stage's process group at every step of its life: nothing half is read, a rerun gives the same bytes."""

from __future__ import annotations

import ast
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import _artifacts as artifacts
from tests.clones import Clone
from tests.conftest import REPO

pytestmark = pytest.mark.slow

# Python runs this at start: the process group ends when an audited event first speaks of a path.
CRASH = """
import os, signal, sys
event, path = os.environ["CRASH"].split(":")
def hook(name, arguments):
    if name == event and str(arguments[0]).endswith(path) and (name != "open" or "w" in (arguments[1] or "")):
        os.killpg(0, signal.SIGKILL)
sys.addaudithook(hook)
"""
STEPS = {
    "at its start": "os.mkdir:data/.{stage}.partial",
    "in the middle of its output": "open:data/.{stage}.partial/{file}",
    "before its manifest": "open:data/.{stage}.partial/manifest.json",
    "before it publishes": "os.rename:data/.{stage}.partial",
    "while it replaces the former output": "os.rename:data/{stage}",
}
FILES = {"ingest": "summary.json", "validate": "report.json", "split": "holdout.json"}
SMALL = {"demo.users": 300, "demo.items": 300, "demo.events": 6000, "demo.new_items": 20, "demo.dirty_rows": 30}
POINTS = [(stage, step) for stage in ("ingest", "split") for step in STEPS] + [("validate", "before it publishes")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which ingest, validate and split have run."""
    clone = Clone(tmp_path_factory.mktemp("crash") / "longtail")
    clone.params({"ingest": SMALL, "validate": {"min_interactions": 100}})
    (clone.root.parent / "crash").mkdir()
    (clone.root.parent / "crash" / "sitecustomize.py").write_text(CRASH)
    for stage in FILES:
        clone.run(sys.executable, "-m", f"pipelines.{stage}")
    return clone


def killed(clone: Clone, crash: str, *command: str) -> None:
    """Run a command that ends by its crash."""
    env = {**clone.env, "CRASH": crash, "PYTHONPATH": f"{clone.root.parent / 'crash'}:{clone.env['PYTHONPATH']}"}
    done = subprocess.run(command, cwd=clone.root, env=env, capture_output=True, start_new_session=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def manifest(clone: Clone, stage: str) -> Any:
    return clone.json(f"data/{stage}/manifest.json")


@pytest.mark.parametrize(("stage", "step"), POINTS)
def test_a_killed_stage_leaves_nothing_half_and_a_rerun_gives_the_same(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, stage: str, step: str
) -> None:
    monkeypatch.chdir(clone.root)
    whole = manifest(clone, stage)
    replaces = step == "while it replaces the former output"
    if not replaces:
        shutil.rmtree(Path("data", stage))
    killed(clone, STEPS[step].format(stage=stage, file=FILES[stage]), sys.executable, "-m", f"pipelines.{stage}")
    if replaces:
        assert manifest(clone, stage) == whole
    else:
        with pytest.raises(FileNotFoundError, match=f"run `dvc repro {stage}`"):
            artifacts.verify(Path("data", stage, FILES[stage]))
    clone.run(sys.executable, "-m", f"pipelines.{stage}")
    assert manifest(clone, stage) == whole
    assert not list(Path("data").glob(f".{stage}.*"))


def test_the_next_stage_alone_refuses_what_a_killed_one_left(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root)
    whole = manifest(clone, "ingest")
    shutil.rmtree("data/ingest")
    killed(clone, "os.rename:data/.ingest.partial", sys.executable, "-m", "pipelines.ingest")
    printed = clone.run(sys.executable, "-m", "pipelines.split", status=1)
    assert printed.startswith("split: error: data/ingest/interactions.parquet is missing; run `dvc repro ingest`")
    assert printed.count("\n") == 1
    clone.run(sys.executable, "-m", "pipelines.ingest")
    assert manifest(clone, "ingest") == whole


def test_dvc_goes_on_after_its_whole_group_was_killed(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root)
    whole = {stage: manifest(clone, stage) for stage in FILES}
    for stage in FILES:
        shutil.rmtree(Path("data", stage))
    for crash in ("open:dvc.lock", "os.rename:data/.split.partial"):
        killed(clone, crash, sys.executable, "-m", "dvc", "repro", "split")
    clone.longtail("doctor")
    clone.dvc("repro", "split")
    assert {stage: manifest(clone, stage) for stage in FILES} == whole
    assert not list(Path("data").glob(".*.partial"))


def test_every_stage_writes_through_the_one_context_that_publishes_whole_outputs() -> None:
    """So what is tested above for some stages holds for all."""
    stages = [path for path in (REPO / "pipelines").glob("*.py") if not path.stem.startswith("_")]
    assert len(stages) >= 9
    for path in stages:
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        assert sum(ast.unparse(call.func) == "artifacts.stage" for call in calls) == 1, path.name
