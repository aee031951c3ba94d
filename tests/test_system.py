"""The programs that tests run are found wherever Debian puts them, or named with their package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import system
from tests.conftest import REPO

MISSING = "needs the program redis-server: install the Debian package redis-server"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only folder of programs on a machine on which nothing is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(system, "FOLDERS", ())
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


def put(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o755)
    return str(path)


def test_a_test_whose_program_is_missing_is_skipped_with_the_package(bare: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match=f"^{MISSING}$"):
        system.program("redis-server")


def test_under_ci_it_fails_with_the_package(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=f"^{MISSING}; with CI=true"):
        system.program("redis-server")


def test_a_program_is_found_on_the_path_then_where_debian_has_it_the_latest_version_first(
    bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("lib")
    monkeypatch.setattr(system, "FOLDERS", (f"{root}/*/bin",))
    put(root / "15" / "bin" / "initdb")
    latest = put(root / "17" / "bin" / "initdb")
    assert system.program("initdb") == latest
    first = put(bare / "initdb")
    assert system.program("initdb") == first


def test_another_name_of_a_program_counts(bare: Path) -> None:
    path = put(bare / "chromium-browser")
    assert system.program("chromium") == path


def test_a_program_that_the_list_lacks_is_refused_though_it_is_installed(bare: Path) -> None:
    put(bare / "mysqld")
    with pytest.raises(ValueError, match=r"system-packages\.txt has no program 'mysqld'; add it"):
        system.program("mysqld")


def test_tests_look_for_programs_nowhere_else() -> None:
    looks = re.compile(r"shutil\.which|[\"'(]/usr/(?:bin|lib|local)/")
    own = {REPO / "tests" / name for name in ("system.py", "test_system.py")}
    found = [
        path for path in (REPO / "tests").rglob("*.py") if path not in own and looks.search(path.read_text("utf-8"))
    ]
    assert found == []
