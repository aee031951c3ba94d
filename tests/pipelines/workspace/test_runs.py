"""Runs under refs of their own: what prepare keeps, refuses and repeats, and writers that race."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines.orchestration import approval_tasks, run_tasks
from pipelines.settings.document import load
from pipelines.settings.gate import Gate
from pipelines.settings.train import Train
from pipelines.workspace import dvc_stage, git, runs
from tests.conftest import edit_params
from tests.pipelines.releases import Checkout

pytestmark = pytest.mark.slow  # Git and DVC for real

RUN = "manual__2026-01-01T00:00:00+00:00"


def prepare(form: dict[str, Any] | None = None, **data: Any) -> runs.Run:
    run_tasks.prepare(RUN, form or {}, data, "2026-01-01")
    return runs.named(RUN)


def file_of(run: runs.Run, path: str) -> str:
    return git.read_file(run.prepared(), path).decode()


def test_a_run_keeps_settings_and_code_as_they_are_and_the_checkout_stays_so(checkout: Checkout) -> None:
    edit_params(Path("params.yaml"), "train", {"seed": 7})  # uncommitted
    Path("pipelines/_new.py").write_text("x = 1\n")
    before, head = git.git("status", "--porcelain"), git.head()
    run = prepare({"gate.confidence": 0.9, "note": "why"})
    assert (git.git("status", "--porcelain"), git.head()) == (before, head)
    assert "seed: 7" in file_of(run, "params.yaml")
    assert "confidence: 0.9 " in file_of(run, "params.yaml")
    assert file_of(run, "pipelines/_new.py") == "x = 1\n"
    assert json.loads(file_of(run, "run/run.json"))["form"]["note"] == "why"
    assert load(Gate).confidence == 0.95


def test_a_cleared_task_repeats_nothing(checkout: Checkout) -> None:
    tip = prepare({"train.seed": 3}).tip()
    edit_params(Path("params.yaml"), "train", {"seed": 9})
    assert prepare({"train.seed": 3}).tip() == tip


def test_an_id_that_is_used_again_starts_anew_and_keeps_what_was(checkout: Checkout) -> None:
    first = prepare({"train.seed": 3}).prepared()
    run = prepare({"train.seed": 4})
    assert "seed: 4" in file_of(run, "params.yaml")
    assert run.prepared() != first


def test_an_older_commit_can_be_run(checkout: Checkout) -> None:
    before = git.head()
    edit_params(Path("params.yaml"), "train", {"seed": 9})
    run = prepare({"revision": before})
    assert f"seed: {load(Train, Path('params.yaml')).seed}" not in file_of(run, "params.yaml")


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"overrides": {"train.als.epochs": 0}}, "train.als.epochs is 0"),
        ({"train.als.epoch": 1}, "no key train.als.epoch"),
        ({"revision": "nowhere"}, "revision 'nowhere' does not exist"),
        ({"ingest.path": "data/nothing"}, "data/nothing"),
    ],
)
def test_a_slip_is_refused_before_anything_is_begun(checkout: Checkout, form: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        prepare(form)
    assert runs.named(RUN).tip() is None


def test_a_disk_that_is_nearly_full_is_refused_with_the_figure(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1_500_000_000))
    with pytest.raises(run_tasks.RoomError, match=r"1\.50 GB are free .* expected 2.0 \(airflow\.free_gigabytes\)"):
        prepare()
    assert runs.named(RUN).tip() is None


def test_a_stage_that_refuses_its_input_is_told_from_one_that_was_killed(checkout: Checkout) -> None:
    prepare()
    with pytest.raises(ValueError, match="ingest stopped; see its error above"):
        run_tasks.stage(RUN, "ingest", 1)  # its command is `exit 1`
    found = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(found.replace("exit 1", "kill -9 $$", 1))
    prepare({"note": "again"})
    with pytest.raises(dvc_stage.InterruptedStageError, match="ingest was ended with exit status"):
        run_tasks.stage(RUN, "ingest", 1)


def test_no_stage_that_ends_at_the_same_time_loses_its_line(checkout: Checkout) -> None:
    run = prepare()
    names = [f"stage{n}" for n in range(8)]

    def add(name: str) -> None:
        text = f"schema: '2.0'\nstages:\n  {name}:\n    cmd: {name}\n"
        run.add(lambda tip: {runs.LOCK: runs.merged_lock(tip, text.encode(), name)}, name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, names))
    assert all(f"cmd: {name}" in file_of(run, "dvc.lock") for name in names)


def test_workers_that_share_a_remote_alone_see_each_others_stages(checkout: Checkout, tmp_path: Path) -> None:
    git.git("init", "--quiet", "--bare", str(tmp_path / "shared"))
    git.git("remote", "add", "shared", str(tmp_path / "shared"))
    edit_params(Path("params.yaml"), "release", {"remote": "shared"})
    edit_params(Path("params.yaml"), "airflow", {"workers": "remote"})
    run = prepare()
    there = git.git("-C", str(tmp_path / "shared"), "rev-parse", run.ref)
    assert there == run.tip()
    git.git("update-ref", "-d", run.ref)  # as another machine, which has seen nothing yet
    run.add(lambda tip: {"dvc.lock": b"schema: '2.0'\nstages: {}\n"}, "a stage")
    assert git.git("-C", str(tmp_path / "shared"), "log", "--format=%s", "-1", run.ref) == "a stage"


def test_workers_without_a_remote_to_share_are_an_error(checkout: Checkout) -> None:
    edit_params(Path("params.yaml"), "airflow", {"workers": "remote"})
    with pytest.raises(ValueError, match=r"release\.remote is null"):
        prepare()


def test_who_decided_and_why_is_kept_with_the_run(checkout: Checkout) -> None:
    run = prepare()
    answer = {"chosen_options": ["Reject"], "params_input": {"reason": "too few"}, "responded_at": "now"}
    approval_tasks.record(RUN, {**answer, "responded_by_user": {"id": "1", "name": "Ada"}})
    assert json.loads(file_of(run, "run/decision.json")) == {
        "decision": "Reject", "by": "Ada", "why": "too few", "at": "now",
    }  # fmt: skip
    assert git.git("log", "-1", "--format=%s", run.ref) == "Reject by Ada: too few"
