"""Promotions that race: worktrees and processes on one machine, clones that share a Git and a DVC remote."""

from __future__ import annotations

import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from pipelines.artifacts import outputs
from pipelines.champion import stage as champion
from pipelines.registry import tags as registry_tags
from pipelines.registry import version_files
from pipelines.release import candidate, release
from pipelines.runtime.console import TemporaryError
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from tests.pipelines.releases import Checkout, clone, git, share, start

pytestmark = pytest.mark.slow  # Git and DVC for real


@pytest.fixture
def shared(checkout: Checkout, tmp_path: Path) -> Checkout:
    share(checkout, tmp_path)
    return checkout


def serving() -> str | None:
    version = registry_tags.read(load(Champion)).serving
    return version.name if version else None


def tags(folder: Path) -> list[str]:
    return git(folder, "tag").splitlines()


def test_a_promotion_is_published_with_tags_side_ref_and_data(shared: Checkout, tmp_path: Path) -> None:
    shared.candidate(1)
    release.promote()
    published = git(tmp_path / "origin.git", "for-each-ref", "--format=%(refname)").splitlines()
    assert published == [
        "refs/heads/main",
        "refs/longtail/ledger",
        "refs/longtail/releases/v1.0.0",
        "refs/tags/longtail#prod#1",
        "refs/tags/longtail@v1.0.0",
    ]
    assert any(path.read_bytes() == b"bento of 1" for path in (tmp_path / "storage").rglob("*") if path.is_file())


def test_a_fresh_clone_gets_the_served_bento_without_computing(shared: Checkout, tmp_path: Path) -> None:
    shared.candidate(1)
    release.promote()
    other = clone(shared, tmp_path / "other")
    with chdir(other.root):
        version = registry_tags.read(load(Champion)).serving
        assert version is not None
        archive = version_files.obtain(version.name, version.commit, version_files.ARCHIVE)
        assert archive.read_bytes() == b"bento of 1"


def test_a_clone_without_the_uncommitted_remote_takes_it_from_the_release(checkout: Checkout, tmp_path: Path) -> None:
    with Path(".dvc/config").open("a") as config:
        config.write(f"    remote = storage\n['remote \"storage\"']\n    url = {tmp_path / 'storage'}\n")
    checkout.candidate(1)
    checkout.promote()
    git(checkout.root, "clone", "--quiet", ".", str(tmp_path / "other"))
    with chdir(tmp_path / "other"):
        commit = registry_tags.read(load(Champion)).version("v1.0.0").commit
        assert version_files.obtain("v1.0.0", commit, version_files.ARCHIVE).read_bytes() == b"bento of 1"


def test_a_remote_configured_after_the_release_is_used_for_it(checkout: Checkout, tmp_path: Path) -> None:
    checkout.candidate(1)
    checkout.promote()
    share(checkout, tmp_path)
    git(checkout.root, "push", "--quiet", "--tags", "origin")
    shutil.copytree(".dvc/cache", tmp_path / "storage")
    other = clone(checkout, tmp_path / "other")
    with chdir(other.root):
        commit = registry_tags.read(load(Champion)).version("v1.0.0").commit
        assert version_files.obtain("v1.0.0", commit, version_files.ARCHIVE).read_bytes() == b"bento of 1"


def test_another_clone_learns_of_the_champion_and_must_beat_it(shared: Checkout, tmp_path: Path) -> None:
    other = clone(shared, tmp_path / "other")
    with chdir(other.root):
        other.candidate(2)
    shared.candidate(1)
    release.promote()
    with chdir(other.root):
        with pytest.raises(ValueError, match=r"compared with no champion, but the champion is v1\.0\.0"):
            release.promote()
        champion.main()  # as `dvc repro` does
        assert outputs.read_json(Path("data/champion/champion.json"))["version"] == "v1.0.0"
        other.candidate(2)
        assert release.promote().version == "v2.0.0"
    assert release.rollback().version == "v1.0.0"
    with chdir(other.root):
        assert serving() == "v2.0.0"
        champion.fetch_registry(load(Champion))
        assert serving() == "v1.0.0"


def test_a_race_that_is_lost_after_the_fetch_changes_nothing(shared: Checkout, tmp_path: Path) -> None:
    other = clone(shared, tmp_path / "other")
    shared.candidate(1)
    with release.registry() as before:
        with chdir(other.root):
            other.candidate(2)
            release.promote()
        verdict = outputs.read_json(Path("data/gate/verdict.json"))
        commit = candidate.release_commit("v1.0.0", verdict, before)
        with pytest.raises(ValueError, match="another promotion was faster"):
            release.assign(before, "v1.0.0", commit, "promote v1.0.0", register=True)
    assert tags(shared.root) == []
    assert git(shared.root, "for-each-ref", "--format=%(refname)", "refs/longtail") == "refs/longtail/ledger"


def test_a_remote_that_cannot_be_reached_promotes_nothing(shared: Checkout) -> None:
    shared.candidate(1)
    git(shared.root, "remote", "set-url", "origin", "/nowhere/at/all.git")
    with pytest.raises(ValueError, match=r"release\.remote is 'origin', which cannot be fetched from"):
        release.promote()
    assert tags(shared.root) == []


def test_the_champion_stage_goes_on_without_the_remote(shared: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    shared.candidate(1)
    git(shared.root, "remote", "set-url", "origin", "/nowhere/at/all.git")
    champion.main()
    assert "using the versions known here" in capsys.readouterr().err
    assert outputs.read_json(Path("data/champion/champion.json"))["version"] is None


def test_a_failed_data_push_promotes_nothing(shared: Checkout, tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("a file where the DVC remote should be")
    shared.candidate(1)
    with pytest.raises(TemporaryError, match="`dvc push` to storage failed"):  # in Airflow, the task is tried again
        release.promote()
    assert tags(shared.root) == tags(tmp_path / "origin.git") == []


def test_worktrees_share_registry_and_lock(checkout: Checkout, tmp_path: Path) -> None:
    git(checkout.root, "worktree", "add", "--quiet", "--detach", str(tmp_path / "worktree"))
    worktree = Checkout(tmp_path / "worktree")
    local = f"[cache]\n    dir = {checkout.root / '.dvc/cache'}\n    type = hardlink,copy\n"
    (worktree.root / ".dvc/config.local").write_text(local)
    with chdir(worktree.root):
        worktree.candidate(1)
        release.promote()
        shutil.rmtree(".dvc/tmp", ignore_errors=True)
    assert serving() == "v1.0.0"
    commit = registry_tags.read(load(Champion)).version("v1.0.0").commit
    assert version_files.obtain("v1.0.0", commit, version_files.ARCHIVE).read_bytes() == b"bento of 1"


def test_of_twenty_parallel_promotions_in_one_checkout_one_wins(checkout: Checkout) -> None:
    checkout.candidate(1)
    processes = [start(checkout.root, "promote") for _ in range(20)]
    texts = [process.communicate(timeout=240)[0] for process in processes]
    assert sorted("serves now" in text for text in texts) == [False] * 19 + [True]
    assert sum("already serves" in text for text in texts) == 19
    assert tags(checkout.root) == ["longtail#prod#1", "longtail@v1.0.0"]


def test_history_is_linear_whatever_races(checkout: Checkout) -> None:
    """Three candidates, each promoted by several at once: every version replaced the one before, one after another."""
    for seed in (1, 2, 3):
        checkout.candidate(seed)
        processes = [start(checkout.root, "promote") for _ in range(4)]
        assert sum("serves now" in process.communicate(timeout=120)[0] for process in processes) == 1
    registry = registry_tags.read(load(Champion))
    replaced = [
        version_files.document(version.name, version.commit)["replaced"] for version in registry.versions.values()
    ]
    assert list(registry.versions) == ["v1.0.0", "v2.0.0", "v3.0.0"]
    assert replaced == [None, "v1.0.0", "v2.0.0"]
    assert [event.number for event in registry.assignments] == [1, 2, 3]
    created = [event.created for event in registry.assignments]
    assert created == sorted(set(created))


def test_of_five_clones_that_promote_at_once_one_wins(shared: Checkout, tmp_path: Path) -> None:
    clones = [clone(shared, tmp_path / f"clone{seed}") for seed in range(5)]
    for seed, other in enumerate(clones):
        with chdir(other.root):
            other.candidate(seed)
    processes = [start(other.root, "promote") for other in clones]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    won = [seed for seed, process in enumerate(processes) if process.returncode == 0]
    assert len(won) == 1
    for seed, error in enumerate(errors):
        assert seed in won or "another promotion was faster" in error or "the champion is" in error
    assert tags(tmp_path / "origin.git") == ["longtail#prod#1", "longtail@v1.0.0"]
    content = b"bento of %d" % won[0]
    for other in clones:
        git(other.root, "fetch", "--quiet", "--tags")  # fails where a loser kept tags of its own
    with chdir(clones[won[0] - 1].root):
        version = registry_tags.read(load(Champion)).serving
        assert version is not None
        assert version_files.obtain(version.name, version.commit, version_files.ARCHIVE).read_bytes() == content
