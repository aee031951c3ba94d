"""The user's BentoML store is a cache of the archive."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import outputs
from pipelines.bentos import smoke, store
from tests import judged
from tests.conftest import REPO


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the user's store, which does not exist yet."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "new" / "store"))
    return tmp_path / "new" / "store"


def described(**changes: Any) -> dict[str, Any]:
    return {"built": True, "reason": "", "tag": "longtail:abc", "files": {"src/a": "0" * 64}} | changes


def test_a_model_without_a_bento_cannot_be_served(home: Path) -> None:
    with pytest.raises(ValueError, match="this version has no Bento to serve: the verdict is HOLD"):
        store.ensure_imported(Path("longtail.tar"), described(built=False, reason="the verdict is HOLD: few users"))
    assert not home.exists()


def test_a_missing_archive_names_its_remedy(home: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone.tar is missing; run `dvc pull`, or `dvc repro package`"):
        store.ensure_imported(Path("gone.tar"), described())


@pytest.mark.slow
def test_something_that_is_no_archive_fails_in_one_line(home: Path, tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="`bentoml import` failed with exit status 1") as error:
        store.ensure_imported(tmp_path / "no.tar", described())
    assert "\n" not in str(error.value)


def test_a_store_path_that_is_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("BENTOML_HOME", str(path))
        with pytest.raises(ValueError, match=f"{path} cannot be a BentoML store .* set BENTOML_HOME"):
            store.user_store()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bentos").mkdir()
    (tmp_path / "bentos").chmod(0o555)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"permission denied.*set BENTOML_HOME"):
        store.user_store()


def test_a_port_in_use_is_named_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"cannot listen on 127.0.0.1:{port} \(Address already in use.*another"):
            store.listenable("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("no.such.host.invalid", 3000), ("192.0.2.1", 3000)])
def test_a_place_where_nothing_can_listen_is_named(host: str, port: int) -> None:
    with pytest.raises(ValueError, match=f"cannot listen on {host}:{port}"):
        store.listenable(host, port)


def test_a_host_name_becomes_an_address() -> None:
    assert store.listenable("localhost", 0) in ("127.0.0.1", "::1")


@pytest.mark.slow
def test_a_bento_is_imported_once_and_again_when_the_store_was_changed(packaged: Path, home: Path) -> None:
    archive, bento = packaged / "longtail.tar", outputs.read_json(packaged / "bento.json")
    tag = store.ensure_imported(archive, bento)  # the store is missing
    model = store.folder(home, tag) / "src/packed/model.safetensors"
    assert outputs.sha256(model) == bento["digests"]["model"]

    before = model.stat().st_mtime_ns
    assert store.ensure_imported(packaged / "gone.tar", bento) == tag  # in the store: no archive is needed
    assert model.stat().st_mtime_ns == before

    model.write_bytes(b"changed")
    assert store.ensure_imported(archive, bento) == tag
    assert outputs.sha256(model) == bento["digests"]["model"]


@pytest.mark.slow
def test_an_archive_that_holds_something_else_is_not_kept(packaged: Path, home: Path) -> None:
    bento = outputs.read_json(packaged / "bento.json")
    bento["files"]["src/packed/model.safetensors"] = "0" * 64
    with pytest.raises(ValueError, match=r"model.safetensors differs; run `dvc repro package --force`"):
        store.ensure_imported(packaged / "longtail.tar", bento)
    assert not store.folder(home, bento["tag"]).exists()


@pytest.mark.slow
def test_serve_answers_on_the_host_and_port_it_was_given(packaged: Path, home: Path) -> None:
    tag = store.ensure_imported(packaged / "longtail.tar", outputs.read_json(packaged / "bento.json"))
    port = smoke.free_port()
    script = f"from pipelines.bentos import store; store.serve({tag!r}, host='127.0.0.1', port={port})"
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    with (home / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-c", script], env=env, stdout=log, stderr=log, cwd=home)
    try:
        url = f"http://127.0.0.1:{port}"
        smoke.wait_ready(url, server, 60)
        assert smoke.post(url, "recommend", {"user_id": judged.USER_IDS[0]})["model"] == tag
    finally:
        smoke.stop(server, home)
