"""Looking for new data: versions under a ref of their own, a run that reads the version it was told of."""

from __future__ import annotations

import json
import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pipelines.orchestration import data_versions, new_data, run_tasks
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
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
    assert found["commit"] == git.commit_of(data_versions.REF)
    assert "no change" in new_data.look(2, active=1, waiting=1)["skip"]
    assert git.git("status", "--porcelain") == before
    assert EVENTS.stat().st_mode & 0o200  # DVC makes its copies read-only, never the user's file


def test_a_file_that_was_only_touched_is_no_new_data(source: Checkout) -> None:
    new_data.look(1)
    os.utime(EVENTS, (1, 1))
    assert "the same content" in new_data.look(1, active=1, waiting=1)["skip"]


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


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("name", ["mydata", "mydata/events.csv"])
def test_a_run_reads_a_version_whose_source_is_outside_the_checkout(
    source: Checkout, tmp_path: Path, relative: bool, name: str
) -> None:
    (tmp_path / "mydata").mkdir()
    (tmp_path / "mydata/events.csv").write_text("user_id,item_id\n5,6\n")
    path = f"../{name}" if relative else str(tmp_path / name)
    edit_params(Path("params.yaml"), "ingest", {"path": path})
    found = new_data.look(1)
    (tmp_path / "mydata/events.csv").write_text("user_id,item_id\n7,8\n")
    run_tasks.prepare("r", {}, found, "")
    with worktree.workspace(runs.named("r"), "ingest"):
        with dvc_stage.Repo() as repo:
            dvc_stage.fetch(repo, dvc_stage.inputs("ingest"), shared=False)
        place = Path(load(Ingest).path)
        file = place / "events.csv" if place.is_dir() else place
        assert file.read_text() == "user_id,item_id\n5,6\n"


def test_a_run_reads_a_version_of_a_download(source: Checkout, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/rows.csv").write_text("user_id,item_id\n5,6\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        edit_params(Path("params.yaml"), "ingest", {"url": f"http://127.0.0.1:{server.server_port}/rows.csv"})
        found = new_data.look(1)
        assert new_data.look(1) == found
        server.shutdown()
    run_tasks.prepare("r", {}, found, "")
    with worktree.workspace(runs.named("r"), "ingest"):
        with dvc_stage.Repo() as repo:
            dvc_stage.fetch(repo, dvc_stage.inputs("ingest"), shared=False)
        settings = load(Ingest)
        assert (settings.url, Path(settings.path).read_text()) == (None, "user_id,item_id\n5,6\n")


@pytest.mark.parametrize("path", ["data/raw/absent", "data/raw/events.csv/absent", "data/absent", "/absent"])
def test_a_path_that_a_run_on_a_version_would_not_have_is_an_error(source: Checkout, path: str) -> None:
    found = new_data.look(1)
    Path("data/raw/absent").write_text("in the checkout alone\n")
    with pytest.raises(ValueError, match=f"ingest.path is {path}, which does not exist"):
        run_tasks.prepare("r", {}, {**found, "overrides": {"ingest.path": path}}, "")


def test_a_file_that_dvc_tracks_and_nobody_has_pulled_is_a_source(source: Checkout) -> None:
    with dvc_stage.Repo() as repo:
        repo.add(["data/raw/events.csv"])
    EVENTS.unlink()
    edit_params(Path("params.yaml"), "ingest", {"path": "data/raw/events.csv"})
    run_tasks.prepare("r", {}, {}, "")
    with pytest.raises(ValueError, match="which does not exist"):
        run_tasks.prepare("q", {"ingest.path": "data/raw/absent.csv"}, {}, "")


def started(found: dict[str, Any], run_id: str) -> runs.Run:
    run_tasks.prepare(run_id, {}, found, run_id)
    return runs.named(run_id)


def failed(found: dict[str, Any], run_id: str) -> None:
    started(found, run_id)
    run_tasks.clean_up(run_id, 1, {"data.ingest": "ingest: error: bad rows"})


@pytest.mark.parametrize("verdict", ["PROMOTE", "HOLD", "REJECT"])
def test_a_version_is_announced_until_a_run_has_judged_it(source: Checkout, verdict: str) -> None:
    found = new_data.look(1)
    assert new_data.look(1) == found
    run = started(found, "r")
    run.add(lambda tip: {"notes.txt": b"1"}, "embed of r")
    skip = new_data.look(1, active=1)["skip"]
    assert skip == (
        f"no change at data/raw; version {found['commit'][:12]} is in training: run r, the last finished task is embed"
    )
    run.add(lambda tip: {runs.VERDICT: json.dumps({"verdict": verdict}).encode()}, "gate of r")
    run_tasks.clean_up("r", 1, {"release.package": "package: error: no room"})
    for active in (0, 1):
        assert new_data.look(1, active)["skip"].endswith(f"was judged by the run r: {verdict}")
    assert new_data.look(1, again=True) == found


def test_a_version_waits_for_a_queued_run_that_may_be_on_it(source: Checkout) -> None:
    found = new_data.look(1)
    assert new_data.look(1, active=2) == found  # runs that have begun are on something else
    waits = "; runs of train_recommender that have not begun yet: 2"
    assert new_data.look(1, active=2, waiting=2)["skip"].endswith(f"waits: no run has begun on it{waits}")
    failed(found, "r")
    assert new_data.look(1, active=2, waiting=2)["skip"].endswith(f"r, at ingest: ingest: error: bad rows{waits}")
    assert new_data.look(1, active=2, waiting=2, again=True) == found
    assert new_data.look(1, active=0, waiting=2) == found  # tasks of runs that Airflow has ended


def test_a_failed_training_is_tried_again_twice(source: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    found = new_data.look(1)
    for n in (1, 2):
        failed(found, f"r{n}")
        assert new_data.look(1, active=1) == found
        assert (
            f"{n} of 3 runs failed, the last one, r{n}, at ingest: ingest: error: bad rows" in capsys.readouterr().out
        )
    failed(found, "r3")
    skip = new_data.look(1)["skip"]
    assert "3 of 3 runs failed, the last one, r3, at ingest: ingest: error: bad rows" in skip
    assert skip.endswith('Correct the cause, then trigger watch_source by hand with {"again": true}')
    assert new_data.look(1, again=True) == found
    EVENTS.write_text("user_id,item_id\n3,4\n")
    assert new_data.look(1)["commit"] != found["commit"]


def test_a_run_that_could_not_start_counts_as_failed_and_may_be_prepared_again(source: Checkout) -> None:
    found = new_data.look(1)
    edit_params(Path("params.yaml"), "train", {"als.epochs": 0})
    for run_id in ("r1", "r2", "r3"):
        with pytest.raises(ValueError, match=r"train\.als\.epochs is 0"):
            started(found, run_id)
        run_tasks.clean_up(run_id, 1, {"prepare": "prepare: error: train.als.epochs is 0"})
    assert "3 of 3 runs failed, the last one, r3, at prepare: prepare: error: train.als" in new_data.look(1)["skip"]
    edit_params(Path("params.yaml"), "train", {"als.epochs": 2})
    started(found, "r3")
    assert "is in training: run r3" in new_data.look(1, active=1)["skip"]


def test_a_run_that_was_resumed_is_not_failed_any_more(source: Checkout) -> None:
    found = new_data.look(1)
    failed(found, "r")
    assert new_data.look(1, active=1) == found
    runs.named("r").add(lambda tip: {"notes.txt": b"1"}, "ingest of r")
    assert "is in training: run r" in new_data.look(1, active=1)["skip"]
    run_tasks.clean_up("r", 1, {"data.ingest": "ingest: error: bad rows"})
    assert new_data.look(1, active=1) == found


def test_a_run_that_was_interrupted_counts_as_failed_once_no_training_is_active(
    source: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    found = new_data.look(1)
    started(found, "r")
    assert new_data.look(1, active=0) == found
    assert "it was interrupted; the last finished task is prepare" in capsys.readouterr().out


def test_machines_that_share_a_remote_alone_see_the_runs_of_a_version(source: Checkout, tmp_path: Path) -> None:
    git.git("init", "--quiet", "--bare", str(tmp_path / "shared"))
    git.git("remote", "add", "shared", str(tmp_path / "shared"))
    edit_params(Path("params.yaml"), "release", {"remote": "shared"})
    edit_params(Path("params.yaml"), "airflow", {"workers": "remote"})
    found = new_data.look(1)
    forget("source")
    failed(found, "r")
    assert git.commit_of(data_versions.REF) == found["commit"]  # prepare has fetched it
    forget("source", "runs/r")
    assert new_data.look(1, active=1) == found
    assert runs.named("r").record()["data"] == found


def forget(*refs: str) -> None:
    """Be another machine, without these refs and the objects that only they need."""
    for ref in refs:
        git.git("update-ref", "-d", f"refs/longtail/{ref}")
    git.git("reflog", "expire", "--expire=now", "--all")
    git.git("gc", "--quiet", "--prune=now")


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
