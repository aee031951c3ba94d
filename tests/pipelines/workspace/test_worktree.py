"""The worktree of a run: made, shared, repaired and removed, beside a checkout that stays as it is."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

import pytest

from pipelines.orchestration import run_tasks
from pipelines.settings.document import load
from pipelines.settings.train import Train
from pipelines.workspace import dvc_stage, git, runs, worktree
from tests.conftest import edit_params
from tests.pipelines.releases import Checkout

pytestmark = pytest.mark.slow  # Git and DVC for real


@pytest.fixture
def run(checkout: Checkout) -> runs.Run:
    Path("data/raw").mkdir(parents=True, exist_ok=True)
    Path("data/raw/events.csv").write_text("user_id,item_id\n1,2\n")
    run_tasks.prepare("r", {"train.seed": 3}, {}, "")
    return runs.named("r")


def test_a_worktree_has_the_runs_settings_and_the_users_data(run: runs.Run, checkout: Checkout) -> None:
    with worktree.workspace(run, "ingest"):
        assert Path.cwd() == run.folder
        assert load(Train).seed == 3
        assert Path("data/raw/events.csv").samefile(checkout.root / "data/raw/events.csv")
    assert Path.cwd() == checkout.root
    assert load(Train).seed == 42


def test_a_worktree_uses_the_cache_of_the_checkout(run: runs.Run, checkout: Checkout, tmp_path: Path) -> None:
    (checkout.root / ".dvc" / "config.local").write_text("['remote \"near\"']\n    url = ../../near\n")
    with worktree.workspace(run, "ingest"), dvc_stage.Repo() as repo:
        assert repo.cache.local_cache_dir == str(checkout.root / ".dvc" / "cache")
        assert repo.config["remote"]["near"]["url"] == str(tmp_path / "near")


def test_a_damaged_worktree_is_made_anew(run: runs.Run) -> None:
    with worktree.workspace(run, "ingest"):
        Path("dvc.lock").write_bytes(b"")  # as a killed DVC may leave it
        Path("params.yaml").unlink()
    shutil.rmtree(run.folder / "pipelines")
    (run.folder / ".git").unlink()
    with worktree.workspace(run, "ingest"):
        assert load(Train).seed == 3
        assert Path("pipelines/workspace/git.py").is_file()
        assert dvc_stage.inputs("split") == ["ingest", "validate"]


def test_a_lock_that_a_killed_dvc_left_is_replaced_by_the_runs_own(run: runs.Run) -> None:
    run.add(lambda tip: {"dvc.lock": b"schema: '2.0'\nstages: {}\n"}, "a stage")
    with worktree.workspace(run, "ingest"):
        Path("dvc.lock").write_bytes(b"")
        Path(".dvc/tmp").mkdir(exist_ok=True)
        Path(".dvc/tmp/rwlock").write_bytes(b"")
    with worktree.workspace(run, "ingest", 2):
        assert Path("dvc.lock").read_text() == "schema: '2.0'\nstages: {}\n"
        assert not Path(".dvc/tmp/rwlock").exists()


def test_an_emptied_lock_is_mended_before_the_run_has_one_of_its_own(run: runs.Run) -> None:
    for attempt in (1, 2):
        with worktree.workspace(run, "ingest", attempt):
            assert not Path("dvc.lock").exists()
            Path("dvc.lock").write_bytes(b"")


def test_a_worktree_that_nobody_has_used_for_a_day_is_removed_when_another_run_starts(run: runs.Run) -> None:
    with worktree.workspace(run, "ingest"):
        pass
    lock = run.folder.with_name("r.lock")
    for age in (0, 2 * worktree.ABANDONED):
        os.utime(lock, (time.time() - age,) * 2)
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            worktree.prune()
        assert run.folder.is_dir()  # somebody works there
        worktree.prune()
        assert run.folder.is_dir() == (age == 0)
    with worktree.workspace(run, "split") as made:
        assert made


def test_cleaning_up_leaves_the_ref_and_nothing_else(run: runs.Run) -> None:
    with worktree.workspace(run, "ingest"):
        pass
    run_tasks.clean_up("r", 1)
    assert list(run.folder.parent.iterdir()) == []
    assert len(git.git("worktree", "list").splitlines()) == 1
    assert run.tip() is not None


def test_a_source_outside_the_checkout_is_read_where_it_lies(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    edit_params(Path("params.yaml"), "ingest", {"path": "../elsewhere"})
    run_tasks.prepare("r", {}, {}, "")
    with worktree.workspace(runs.named("r"), "ingest"):
        assert f"path: {tmp_path / 'elsewhere'}" in Path("params.yaml").read_text()
