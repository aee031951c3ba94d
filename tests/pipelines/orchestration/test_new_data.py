"""Looking for new data: versions under a ref of their own, a run that reads the version it was told of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.orchestration import new_data, run_tasks
from pipelines.workspace import dvc_stage, git, runs, worktree
from tests.conftest import edit_params
from tests.pipelines.releases import Checkout

pytestmark = pytest.mark.slow  # Git and DVC for real

EVENTS = Path("data/raw/events.csv")


@pytest.fixture
def source(checkout: Checkout) -> Checkout:
    EVENTS.parent.mkdir(parents=True, exist_ok=True)
    EVENTS.write_text("user_id,item_id\n1,2\n")
    edit_params(Path("params.yaml"), "ingest", {"source": "table", "path": "data/raw"})
    return checkout


def test_new_data_are_versioned_once_and_the_checkout_stays_as_it_is(source: Checkout) -> None:
    before = git.git("status", "--porcelain")
    found = new_data.look(1)
    assert found["files"] == ["data/raw/events.csv.dvc"]
    assert found["commit"] == git.commit_of(new_data.REF)
    assert "no change" in new_data.look(2)["skip"]
    assert git.git("status", "--porcelain") == before
    assert EVENTS.stat().st_mode & 0o200  # DVC makes its copies read-only, never the user's file


def test_a_file_that_was_only_touched_is_no_new_data(source: Checkout) -> None:
    new_data.look(1)
    os.utime(EVENTS, (1, 1))
    assert "the same content" in new_data.look(1)["skip"]


def test_a_run_reads_the_version_it_was_started_for(source: Checkout) -> None:
    found = new_data.look(1)
    EVENTS.write_text("user_id,item_id\n3,4\n")
    assert new_data.look(1)["commit"] != found["commit"]
    run_tasks.prepare("r", {}, found, "")
    with worktree.workspace(runs.named("r"), "ingest"):
        assert dvc_stage.inputs("ingest") == ["data/raw/events.csv.dvc"]
        with dvc_stage.Repo() as repo:
            dvc_stage.fetch(repo, dvc_stage.inputs("ingest"), shared=False)
        assert EVENTS.read_text() == "user_id,item_id\n1,2\n"


def test_a_folder_elsewhere_is_versioned_below_data_raw(source: Checkout, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "a.csv").write_text("1\n")
    edit_params(Path("params.yaml"), "ingest", {"path": str(folder)})
    found = new_data.look(1)
    assert found["overrides"]["ingest.path"] == "data/raw/exports"
    assert found["files"] == ["data/raw/exports.dvc"]


def test_a_version_is_pushed_where_a_remote_is_set(source: Checkout, tmp_path: Path) -> None:
    config = Path(".dvc/config")
    config.write_text(f"{config.read_text()}    remote = near\n['remote \"near\"']\n    url = {tmp_path / 'near'}\n")
    new_data.look(1)
    assert list((tmp_path / "near").rglob("*/*"))


def test_an_empty_source_is_an_error_that_says_where(source: Checkout) -> None:
    EVENTS.unlink()
    with pytest.raises(FileNotFoundError, match=r"data/raw \(ingest\.path\) has no files"):
        new_data.look(1)


def test_the_demo_has_nothing_to_watch(source: Checkout) -> None:
    edit_params(Path("params.yaml"), "ingest", {"source": "demo"})
    assert "demo" in new_data.look(1)["skip"]
