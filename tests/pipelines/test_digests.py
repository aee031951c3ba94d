from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pipelines import _artifacts as artifacts
from pipelines._digests import code_digest, digests
from tests.conftest import Workspace


@pytest.fixture
def judged(workspace: Workspace) -> Workspace:
    """A workspace with the files that a verdict speaks of; their content does not matter here."""
    files = {
        "ingest/interactions.parquet": b"interactions",
        "ingest/items.parquet": b"items",
        "train/model.safetensors": b"model",
        "split/holdout.json": json.dumps({"holdout_sha256": "h" * 64, "tail_sha256": "t" * 64}).encode(),
    }
    for name, content in files.items():
        path = Path("data", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return workspace


def sha(content: bytes | str) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def test_digests_are_what_their_definitions_say(judged: Workspace) -> None:
    found = digests()
    assert list(found) == ["model", "data", "split", "tail", "params", "code"]
    assert found["model"] == sha(b"model")
    assert found["data"] == sha(f"{sha(b'interactions')}\n{sha(b'items')}")
    assert (found["split"], found["tail"]) == ("h" * 64, "t" * 64)


@pytest.mark.parametrize(
    ("name", "content", "changed"),
    [
        ("data/train/model.safetensors", b"another", "model"),
        ("data/ingest/items.parquet", b"another", "data"),
        ("data/split/holdout.json", b'{"holdout_sha256": "x", "tail_sha256": "%s"}' % (b"t" * 64), "split"),
        ("data/split/holdout.json", b'{"holdout_sha256": "%s", "tail_sha256": "x"}' % (b"h" * 64), "tail"),
        ("models/factors.py", b"# another", "code"),
        ("pipelines/new.py", b"# one more", "code"),
    ],
)
def test_a_changed_file_changes_its_digest_and_no_other(
    judged: Workspace, name: str, content: bytes, changed: str
) -> None:
    before = digests()
    Path(name).write_bytes(content)
    after = digests()
    assert [key for key in before if before[key] != after[key]] == [changed]


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
    Path("models/factors.py").rename("models/renamed.py")
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
    assert artifacts.sha256(Path("data/train/model.safetensors")) == digests()["model"]
