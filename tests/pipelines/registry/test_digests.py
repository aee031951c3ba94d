from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipelines.artifacts import outputs
from pipelines.registry.digests import code_digest, digests
from tests.conftest import Workspace


@pytest.fixture
def judged(workspace: Workspace) -> Workspace:
    """A workspace with the files that a verdict refers to; their content does not matter here."""
    files = {
        "ingest/interactions.parquet": b"interactions",
        "ingest/items.parquet": b"items",
        "ingest/users.parquet": b"users",
        "train/model.safetensors": b"model",
    }
    for name, content in files.items():
        path = Path("data", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_holdout("h" * 64, "t" * 64)
    return workspace


def write_holdout(holdout: str, tail: str) -> None:
    with outputs.stage("split") as stage:
        outputs.write_json(stage.output("holdout.json"), {"holdout_sha256": holdout, "tail_sha256": tail})


def sha(content: bytes | str) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def test_digests_are_what_their_definitions_say(judged: Workspace) -> None:
    found = digests()
    assert list(found) == ["model", "data", "split", "tail", "params", "code"]
    assert found["model"] == sha(b"model")
    assert found["data"] == sha(f"{sha(b'interactions')}\n{sha(b'items')}\n{sha(b'users')}")
    assert (found["split"], found["tail"]) == ("h" * 64, "t" * 64)


@pytest.mark.parametrize(
    ("name", "content", "changed"),
    [
        ("data/train/model.safetensors", b"another", "model"),
        ("data/ingest/items.parquet", b"another", "data"),
        ("data/ingest/users.parquet", b"another", "data"),
        ("models/inference/factors.py", b"# another", "code"),
        ("pipelines/gate/new.py", b"# one more", "code"),
        ("pipelines/ingest/room/deep/new.py", b"# one more", "code"),
        ("models/training/room/new.py", b"# one more", "code"),
    ],
)
def test_a_changed_file_changes_its_digest_and_no_other(
    judged: Workspace, name: str, content: bytes, changed: str
) -> None:
    before = digests()
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)
    after = digests()
    assert [key for key in before if before[key] != after[key]] == [changed]


@pytest.mark.parametrize("folder", ["pipelines/serve", "pipelines/orchestration", "pipelines/cli", "bento", "dags"])
def test_code_that_judges_nothing_changes_no_digest(judged: Workspace, folder: str) -> None:
    before = digests()
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "new.py").write_bytes(b"# one more")
    assert digests() == before


def test_another_holdout_and_another_tail_are_told_apart(judged: Workspace) -> None:
    before = digests()
    write_holdout("x" * 64, "t" * 64)
    assert digests() == before | {"split": "x" * 64}
    write_holdout("h" * 64, "x" * 64)
    assert digests() == before | {"tail": "x" * 64}


def test_a_flipped_byte_in_the_holdout_is_named(judged: Workspace) -> None:
    path = Path("data/split/holdout.json")
    path.write_text(path.read_text().replace("tail_sha256", "tail_sha257"))
    with pytest.raises(ValueError, match=r"holdout\.json is corrupted"):
        digests()


def test_every_judged_section_counts_and_release_and_package_do_not(judged: Workspace) -> None:
    before = digests()
    judged.params("release", {"remote": "origin"})
    judged.params("package", {"ready_timeout": 59})
    assert digests() == before
    judged.params("gate", {"confidence": 0.9})
    assert digests() == before | {"params": digests()["params"]} != before


def test_a_comment_in_the_settings_changes_nothing(judged: Workspace) -> None:
    before = digests()
    Path("params.yaml").write_text("# a comment\n" + Path("params.yaml").read_text())
    assert digests() == before


def test_renaming_a_module_changes_the_code_digest(judged: Workspace) -> None:
    before = code_digest()
    Path("models/inference/factors.py").rename("models/renamed.py")
    assert code_digest() != before


def test_a_missing_file_is_named_with_its_stage(judged: Workspace) -> None:
    Path("data/train/model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing; run `dvc repro train`"):
        digests()


def test_a_folder_without_code_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="run inside the checkout"):
        code_digest()


def test_digests_are_hex_sha256(judged: Workspace) -> None:
    assert all(len(value) == 64 for value in digests().values())
    assert outputs.sha256(Path("data/train/model.safetensors")) == digests()["model"]
