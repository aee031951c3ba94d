"""Files with user data or secrets are closed to other users, whatever the umask is; open ones are closed."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from bento.feedback.store import Events
from models.inference.feedback_event import Event
from pipelines.feedback import export
from pipelines.ingest import stage as ingest
from pipelines.orchestration import server
from pipelines.privacy import modes
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from pipelines.workspace import git
from tests.conftest import Workspace

OPEN = 0o007


@pytest.fixture(params=[0o000, 0o022], ids=["umask 000", "umask 022"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def reachable(root: Path) -> list[str]:
    """Files below a folder that other users can read: open themselves, in folders that are all open."""
    found = []
    for folder, _, names in os.walk(root):
        above = [Path(folder), *(p for p in Path(folder).parents if p.is_relative_to(root))]
        if all(mode(path) & OPEN for path in above):
            found += [str(Path(folder, name)) for name in names if mode(Path(folder, name)) & OPEN]
    return found


def test_the_store_its_log_and_its_index_are_the_owners_alone(umask: None, tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    events = Events(f"sqlite:///{path}")
    events.add([Event("a", "u", "i", "click")])
    found = {file.name: oct(mode(file)) for file in tmp_path.iterdir()}
    assert found == dict.fromkeys(["events.sqlite", "events.sqlite-shm", "events.sqlite-wal"], "0o600")


def test_an_open_store_is_closed_and_keeps_what_its_group_may(umask: None, tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    sqlite3.connect(path).execute("create table other (a)").connection.close()
    path.chmod(0o664)
    Events(f"sqlite:///{path}").add([Event("a", "u", "i", "click")])
    assert {oct(mode(file)) for file in tmp_path.iterdir()} == {"0o660"}


def test_what_ingest_and_export_write_no_other_user_can_reach(
    umask: None, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.workspace.git.lock", lambda name: nullcontext())
    monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", f"sqlite:///{workspace.root / 'events.sqlite'}")
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/interactions.csv").write_text("user_id,item_id\nu,i\nv,i\n")
    workspace.params("ingest", {"source": "table"})
    Events().add([Event("a", "u", "i", "click")])
    exported, _ = export.export(load(Ingest))
    ingest.main()
    assert exported is not None
    assert mode(exported) == 0o640
    assert {oct(mode(path)) for path in Path("data/ingest").iterdir()} == {"0o640"}
    assert mode(Path("data/ingest")) == 0o750
    assert [mode(path) & OPEN for path in (Path("data"), Path(".longtail"))] == [0, 0]
    assert not [path for path in reachable(workspace.root) if path.startswith(("data", ".longtail", "events"))]


def test_rows_that_stopped_a_run_are_closed_as_well(umask: None, workspace: Workspace) -> None:
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/interactions.csv").write_text("user_id,item_id\nu,i\n,i\n")
    workspace.params("ingest", {"source": "table"})
    with pytest.raises(ValueError, match="malformed"):
        ingest.main()
    assert mode(ingest.REJECTED_FILE) & OPEN == 0


def test_a_folder_that_was_open_is_closed_by_the_next_use(umask: None, workspace: Workspace) -> None:
    Path(".longtail").mkdir()
    Path(".longtail").chmod(0o775)
    assert mode(git.state_folder()) == 0o770


def test_a_secret_is_the_owners_alone_and_never_empty(umask: None, tmp_path: Path) -> None:
    assert len(server.secret(tmp_path, "jwt")) >= 48
    assert mode(tmp_path / "jwt.secret") == 0o600
    assert server.secret(tmp_path, "jwt") == (tmp_path / "jwt.secret").read_text()


def test_a_new_file_is_closed_before_anything_is_in_it(umask: None, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("older, and open")
    assert modes.file(path).read_bytes() == b""
    assert mode(path) == 0o640
