"""`longtail doctor`: faults that it finds, those that it repairs, and those that it leaves to a person."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bento.feedback.store import Events
from models.inference.feedback_event import Event
from pipelines.artifacts import outputs
from pipelines.cli import doctor, main
from tests.pipelines.releases import Checkout, commit, git

pytestmark = pytest.mark.slow


@pytest.fixture
def run_once(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout after a run that was committed."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    checkout.candidate(1)
    Path("constraints.txt").write_text("# nothing pinned\n")
    git(checkout.root, "add", ".")
    commit(checkout.root, "a run")
    return checkout


def texts(remedies: bool = False) -> str:
    found = list(doctor.examine())
    return "\n".join(f"{finding.text} -> {finding.remedy}" for finding in found if finding.remedy or not remedies)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def objects() -> list[Path]:
    return sorted(path for path in Path(".dvc/cache/files/md5").glob("*/*"))


def test_a_healthy_checkout_needs_nothing(run_once: Checkout) -> None:
    assert texts(remedies=True) == ""
    n = sum(path.is_file() and path.name != "manifest.json" for path in Path("data").glob("[!r]*/*"))
    assert n > 12
    assert f"outputs: {n} files rehashed" in texts()
    assert f"cache: {len(objects())} objects" in texts()


def test_an_emptied_dvc_lock_comes_back_from_the_last_commit(run_once: Checkout) -> None:
    before = Path("dvc.lock").read_bytes()
    Path("dvc.lock").write_text("")
    assert "dvc.lock was unreadable: restored from the last commit" in texts()
    assert Path("dvc.lock").read_bytes() == before


def test_an_emptied_dvc_lock_that_was_never_committed_is_removed(run_once: Checkout) -> None:
    git(run_once.root, "rm", "-q", "--cached", "dvc.lock")
    commit(run_once.root, "without lock")
    Path("dvc.lock").write_text("")
    assert "dvc.lock was unreadable: removed" in texts()
    assert not Path("dvc.lock").exists()


@pytest.mark.parametrize("content", ["", "{", '{"write": '])
def test_a_broken_rwlock_blocks_dvc_until_the_doctor_came(run_once: Checkout, content: str) -> None:
    Path(".dvc/tmp").mkdir(exist_ok=True)
    Path(".dvc/tmp/rwlock").write_text(content)
    blocked = subprocess.run(["dvc", "repro", "champion"], capture_output=True, text=True, check=False)
    assert "rwlock" in blocked.stderr
    assert "rwlock was unreadable: removed" in texts()
    assert "rwlock" not in subprocess.run(["dvc", "status"], capture_output=True, text=True, check=True).stderr


def hold(pid: int) -> None:
    """Let a process hold a lock of DVC."""
    Path(".dvc/tmp").mkdir(exist_ok=True)
    Path(".dvc/tmp/rwlock").write_text(f'{{"write": {{"data/x": {{"pid": {pid}, "cmd": "dvc repro"}}}}, "read": {{}}}}')


def test_a_running_dvc_keeps_its_locks_and_is_named(run_once: Checkout) -> None:
    hold(os.getpid())
    Path("data/.train.partial").mkdir()
    Path("dvc.lock").write_text("")
    assert f"DVC is running (dvc repro, process {os.getpid()}) -> wait until it ends" in texts()
    assert Path("data/.train.partial").exists()
    assert Path("dvc.lock").read_text() == ""


def test_a_second_run_says_who_is_at_work(run_once: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    hold(os.getpid())
    with pytest.raises(SystemExit):
        main.main(["run"])
    said = f"another run is active in this checkout (dvc repro, process {os.getpid()}); wait until it ends"
    assert said in capsys.readouterr().err


def test_a_lock_of_a_process_whose_number_was_given_away_is_removed(run_once: Checkout) -> None:
    hold(os.getpid())
    os.utime(".dvc/tmp/rwlock", (1, 1))  # from before this process began
    assert "rwlock was left by a killed DVC: removed" in texts()
    assert not Path(".dvc/tmp/rwlock").exists()


def test_what_killed_stages_left_is_removed(run_once: Checkout) -> None:
    for name in ("data/.train.partial", "data/.split.old"):
        Path(name).mkdir()
    assert "removed data/.train.partial, left by a killed stage" in texts()
    assert not list(Path("data").glob(".*.partial")) + list(Path("data").glob(".*.old"))


def test_a_damaged_output_is_named_with_its_remedy(run_once: Checkout) -> None:
    damage(Path("data/train/model.safetensors"))
    found = texts(remedies=True)
    assert "data/train/model.safetensors is corrupted" in found
    assert "-> remove data/train and run `dvc repro --force --downstream train`" in found


def test_every_damaged_object_of_the_cache_is_found_and_removed(run_once: Checkout) -> None:
    damaged = objects()
    for path in damaged:
        damage(path)
    found = texts(remedies=True)
    assert all(f"removed {path.absolute()}, which was damaged" in found for path in damaged)
    assert objects() == []


def remote(folder: Path) -> None:
    subprocess.run(["dvc", "remote", "add", "-d", "here", str(folder)], check=True, capture_output=True)
    subprocess.run(["dvc", "push"], check=True, capture_output=True)


def test_damaged_objects_of_the_remote_are_never_pulled(run_once: Checkout, tmp_path: Path) -> None:
    remote(tmp_path / "remote")
    assert "-> run `dvc remote modify here verify true`" in texts(remedies=True)
    subprocess.run(["dvc", "remote", "modify", "here", "verify", "true"], check=True, capture_output=True)
    assert texts(remedies=True) == ""
    for path in (tmp_path / "remote").glob("files/md5/*/*"):
        damage(path)
    for path in objects():
        path.unlink()
    subprocess.run(["rm", "-rf", "data/train", "data/split"], check=True)
    pulled = subprocess.run(["dvc", "pull"], capture_output=True, text=True, check=False)
    assert pulled.returncode != 0
    assert not Path("data/train/model.safetensors").exists()
    n = len(list((tmp_path / "remote").glob("files/md5/*/*")))
    found = [finding.text for finding in doctor.examine(remote=True)]
    assert sum(text.startswith("remote: removed ") and text.endswith(", which was damaged") for text in found) == n > 0
    assert not list((tmp_path / "remote").glob("files/md5/*/*"))


def test_what_dvc_checks_out_of_a_damaged_cache_is_refused_by_its_reader(run_once: Checkout) -> None:
    for path in objects():
        if not path.name.endswith(".dir"):
            damage(path)
    shutil.rmtree("data/split")
    subprocess.run(["dvc", "checkout", "--force", "data/split"], capture_output=True, check=False)
    for path in Path("data/split").glob("*"):
        with pytest.raises((ValueError, FileNotFoundError)):
            outputs.verify(path)


def test_the_command_fails_while_a_remedy_is_open(run_once: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["doctor"])
    assert "remedy" not in capsys.readouterr().out
    damage(Path("data/split/items.parquet"))
    with pytest.raises(SystemExit) as ended:
        main.main(["doctor"])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert "  remedy: remove data/split" in out
    assert "1 of the lines above need a fix" in err


def test_what_is_open_to_other_users_is_closed(run_once: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Path(".longtail/feedback.sqlite")
    Events(f"sqlite:///{store.absolute()}").add([Event("a", "u", "i", "click")])
    Path("data/raw").mkdir(exist_ok=True)
    export = Path("data/raw/feedback-00000000-000000000000-000000000001.parquet")
    export.write_bytes(b"")
    opened = [Path("data"), Path(".dvc/cache"), store, export]
    for path in opened:
        path.chmod(0o777)
    said = texts()
    for path in opened[:2]:
        assert f"modes: {path} was accessible to other users; access removed" in said
    assert {path.stat().st_mode & 0o007 for path in opened} == {0}
    assert " accessible to other users" not in texts()


def test_a_secret_in_the_committed_address_of_a_remote_is_a_finding(run_once: Checkout) -> None:
    config = Path(".dvc/config")
    config.write_text(
        f"{config.read_text()}    remote = far\n['remote \"far\"']\n    url = http://u:s3cret@127.0.0.1:1/\n"
    )
    assert "the address of far in .dvc/config contains a user or password, and every release copies it" in texts(
        remedies=True
    )
