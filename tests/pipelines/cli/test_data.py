"""`longtail push` and `longtail gc` with a real DVC remote and real clones."""

from __future__ import annotations

import fcntl
import json
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.repo import Repo

from pipelines.artifacts import outputs
from pipelines.cli import data, doctor
from pipelines.registry import tags, version_files
from pipelines.release import release
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import git as pipelines_git
from pipelines.workspace import runs
from tests.pipelines.releases import Checkout, git, share

pytestmark = pytest.mark.slow  # Git and DVC for real


@pytest.fixture
def released(checkout: Checkout, tmp_path: Path) -> Checkout:
    """Two versions, promoted before there was a remote; then one that only the settings of this machine name."""
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    checkout.promote()
    local = f"[core]\n    remote = late\n['remote \"late\"']\n    url = {tmp_path / 'late'}\n"
    Path(".dvc/config.local").write_text(local)
    return checkout


def run_ref(name: str, files: dict[str, object]) -> None:
    """A run whose newest commit has the settings and dvc.lock of the checkout as it is."""
    content = {path: value if isinstance(value, bytes) else json.dumps(value).encode() for path, value in files.items()}
    tree = pipelines_git.snapshot(
        always=("dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config"), folders=(), files=content
    )
    commit = pipelines_git.commit_tree(tree, parent=pipelines_git.head(), message=name)
    git(Path.cwd(), "update-ref", f"{runs.REFS}/{name}", commit)


def archive(version: str) -> bytes:
    found = tags.read(load(Champion)).version(version)
    return version_files.obtain(version, found.commit, version_files.ARCHIVE).read_bytes()


def objects(folder: Path) -> set[str]:
    return {path.parent.name + path.name for path in folder.glob("files/md5/*/*")}


def test_a_clone_serves_versions_pushed_to_a_remote_that_is_younger_than_they(
    released: Checkout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.push([])
    printed = capsys.readouterr().out
    assert "v1.0.0: complete" in printed
    assert "v2.0.0: complete" in printed
    assert "git push REMOTE --tags 'refs/longtail/*:refs/longtail/*'" in printed
    git(tmp_path, "clone", "--quiet", str(released.root), "clone")
    shutil.copy(".dvc/config.local", tmp_path / "clone/.dvc")
    with chdir(tmp_path / "clone"):
        assert archive("v1.0.0") == b"bento of 1"
        assert archive("v2.0.0") == b"bento of 2"
    data.push([])
    assert "0 of them new" in capsys.readouterr().out


def test_a_single_version_is_pushed_and_an_unknown_one_is_named(released: Checkout, tmp_path: Path) -> None:
    data.push(["v1.0.0"])
    (tmp_path / "late").rename(tmp_path / "kept")
    data.push([])
    assert objects(tmp_path / "kept") < objects(tmp_path / "late")
    with pytest.raises(ValueError, match=r"version 'v9\.0\.0' is not registered; expected some of v1\.0\.0, v2\.0\.0"):
        data.push(["v9.0.0"])


def test_an_emptied_remote_is_seen_although_dvc_remembers_its_objects(released: Checkout, tmp_path: Path) -> None:
    data.push([])
    before = objects(tmp_path / "late")
    shutil.rmtree(tmp_path / "late")
    data.push([])
    assert objects(tmp_path / "late") == before


def test_what_neither_cache_nor_remote_has_is_named(
    released: Checkout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(".dvc/cache")
    with pytest.raises(
        ValueError, match=r"late lacks data of v1\.0\.0, v2\.0\.0, this checkout, see above; run `longtail push` on the"
    ):
        data.push([])
    assert capsys.readouterr().out.count("a clone cannot serve it") == 2
    found = [finding for finding in doctor.examine(remote=True) if "remote: v2.0.0" in finding.text]
    assert "remote: v2.0.0: lacks data/" in found[0].text
    assert found[0].remedy == "run `longtail push` on the machine that made it"


def test_a_remote_that_cannot_be_written_is_an_error_of_one_line(released: Checkout, tmp_path: Path) -> None:
    (tmp_path / "late").write_text("a file in the place of the remote")
    with pytest.raises(ValueError, match=r"late (failed|lacks)"):
        data.push([])


def test_without_a_remote_the_error_says_how_to_add_one(checkout: Checkout) -> None:
    with pytest.raises(ValueError, match=r"there is no DVC remote; add one with `dvc remote add --default NAME URL`"):
        data.push([])
    with pytest.raises(ValueError, match=r"--remote needs a DVC remote"):
        data.collect_garbage(delete=True, remote=True, ignore_missing=False)


def test_gc_keeps_versions_and_candidates_that_wait_and_frees_the_rest(
    released: Checkout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = released.candidate(3)
    verdict = {"verdict": "PROMOTE", "digests": {"model": waiting}}
    run_ref("waits", {runs.VERDICT: verdict, runs.RECORD: {"run_id": "waits"}})
    released.candidate(4)
    run_ref("refused", {runs.VERDICT: {"verdict": "REJECT", "digests": {"model": "4"}}, runs.RECORD: {}})
    released.candidate(5)
    run_ref("declined", {runs.VERDICT: verdict, runs.DECISION: {"decision": "Reject"}, runs.RECORD: {}})
    released.candidate(6)  # in the working tree
    before = objects(Path(".dvc/cache"))
    data.collect_garbage(delete=False, remote=False, ignore_missing=False)
    assert objects(Path(".dvc/cache")) == before
    printed = capsys.readouterr().out
    assert "would free" in printed
    assert "run waits" in printed
    assert "run again with --yes" in printed
    data.collect_garbage(delete=True, remote=False, ignore_missing=False)
    assert objects(Path(".dvc/cache")) < before
    shutil.rmtree(".longtail/releases", ignore_errors=True)
    assert [archive(version) for version in ("v1.0.0", "v2.0.0")] == [b"bento of 1", b"bento of 2"]
    assert [has(n) for n in range(3, 7)] == [True, False, False, True]
    data.collect_garbage(delete=True, remote=False, ignore_missing=False)
    assert "freed 0 objects" in capsys.readouterr().out


def has(seed: int) -> bool:
    return any(
        path.read_bytes() == b"bento of %d" % seed for path in Path(".dvc/cache/files").rglob("*") if path.is_file()
    )


def test_gc_frees_the_remote_only_where_asked(released: Checkout, tmp_path: Path) -> None:
    released.candidate(3)
    with Repo() as repo:
        repo.push()
    data.push([])
    released.candidate(4)
    before = objects(tmp_path / "late")
    data.collect_garbage(delete=True, remote=False, ignore_missing=False)
    assert objects(tmp_path / "late") == before
    data.collect_garbage(delete=True, remote=True, ignore_missing=False)
    assert objects(tmp_path / "late") < before
    data.push([])  # the versions are still complete


def test_gc_refuses_while_a_task_works_or_a_list_of_files_is_missing(released: Checkout) -> None:
    lock = Path(".longtail/runs/manual.lock")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="a task of the run manual is at work; wait until it ends"):
            data.collect_garbage(delete=True, remote=False, ignore_missing=False)
    for path in Path(".dvc/cache/files/md5").glob("*/*.dir"):
        path.unlink()
    before = objects(Path(".dvc/cache"))
    with pytest.raises(ValueError, match="is neither in DVC's cache nor in the remote"):
        data.collect_garbage(delete=True, remote=False, ignore_missing=False)
    assert objects(Path(".dvc/cache")) == before
    data.collect_garbage(delete=True, remote=False, ignore_missing=True)
    assert objects(Path(".dvc/cache")) < before


def test_gc_keeps_what_other_worktrees_hold(released: Checkout, tmp_path: Path) -> None:
    git(released.root, "worktree", "add", "--quiet", "--detach", str(tmp_path / "beside"))
    cache = f"[cache]\n    dir = {released.root / '.dvc/cache'}\n    type = hardlink,copy\n"
    (tmp_path / "beside/.dvc/config.local").write_text(cache)
    with chdir(tmp_path / "beside"):
        Checkout(tmp_path / "beside").candidate(3)
    data.collect_garbage(delete=True, remote=False, ignore_missing=False)
    assert has(3)


def test_gc_stops_where_the_shared_registry_cannot_be_read(checkout: Checkout, tmp_path: Path) -> None:
    share(checkout, tmp_path)
    checkout.candidate(1)
    release.promote()
    outputs.sha256(version_files.MODEL)
    git(checkout.root, "remote", "set-url", "origin", "/nowhere/at/all.git")
    with pytest.raises(ValueError, match=r"release\.remote is 'origin', which cannot be fetched from"):
        data.collect_garbage(delete=True, remote=False, ignore_missing=False)


def test_gc_of_a_cache_elsewhere_wants_all_checkouts_and_keeps_their_data(checkout: Checkout, tmp_path: Path) -> None:
    cache = f"[cache]\n    dir = {tmp_path / 'cache'}\n"
    Path(".dvc/config.local").write_text(cache)
    git(tmp_path, "clone", "--quiet", str(checkout.root), "other")
    (tmp_path / "other/.dvc/config.local").write_text(cache)
    with chdir(tmp_path / "other"):
        Checkout(tmp_path / "other").candidate(2)
    checkout.candidate(1)
    with pytest.raises(
        ValueError, match=r"lies outside this checkout, so other checkouts may need .* `longtail gc --also"
    ):
        data.collect_garbage(delete=True, remote=False, ignore_missing=False)
    before = objects(tmp_path / "cache")
    data.collect_garbage(delete=True, remote=False, ignore_missing=False, others=[tmp_path / "other"])
    assert objects(tmp_path / "cache") == before
    data.collect_garbage(delete=True, remote=False, ignore_missing=False, others=[checkout.root])
    assert objects(tmp_path / "cache") < before
