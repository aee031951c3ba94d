"""`make setup`: uv installs what pip would install, by the settings of pip; pip does where uv fails."""

from __future__ import annotations

import importlib.util
import subprocess
from typing import Any

import pytest

from tests.conftest import REPO

SPEC = importlib.util.spec_from_file_location("install", REPO / ".ci" / "install.py")
assert SPEC
assert SPEC.loader
install: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(install)
LISTED = """\
:env:.find-links='wheels more/wheels'
:env:.no-color='1'
global.constraint='site.txt'
global.find-links='others'
global.index-url='file:///global'
install.index-url='file:///install'
list.format='columns'
"""


def test_settings_of_the_environment_win_and_those_for_install_go_before_global_ones() -> None:
    settings = install.pip_settings(LISTED)
    assert settings == {
        "find-links": "wheels more/wheels", "no-color": "1", "constraint": "site.txt", "index-url": "file:///install",
    }  # fmt: skip
    assert list(install.uv_options(settings)) == [
        "--constraint", "site.txt", "--find-links", "wheels", "--find-links", "more/wheels",
        "--default-index", "file:///install",
    ]  # fmt: skip


def test_further_indexes_count_as_much_as_the_first_as_they_do_for_pip() -> None:
    assert list(install.uv_options({"extra-index-url": "file:///a file:///b"})) == [
        "--index", "file:///a", "--index", "file:///b", "--index-strategy", "unsafe-best-match",
    ]  # fmt: skip


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the commands, without the Python that runs them."""
    found: list[str] = []

    def run(*command: str, env: object = None) -> None:
        found.append(" ".join(command[2:]))
        if "missing" in found[-1]:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(install, "run", run)
    return found


@pytest.mark.parametrize(
    ("listed", "reason"),
    [("global.no-index='1'", "pip is configured with no-index"), ("global.find-links='missing'", "exit status 1")],
)
def test_where_uv_fails_pip_installs_the_same_and_one_line_says_so(
    commands: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], listed: str, reason: str
) -> None:
    monkeypatch.setattr(subprocess, "check_output", lambda *_, **__: listed)
    install.main()
    assert commands[-1] == "pip install --quiet --constraint constraints.txt --editable .[dev,bench]"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("uv did not install the packages (")
    assert reason in line


def test_where_uv_works_pip_installs_nothing_but_uv(commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "check_output", lambda *_, **__: "global.find-links='wheels'")
    install.main()
    by_pip, by_uv = commands
    assert by_pip == "pip install --quiet --constraint constraints.txt uv"
    assert by_uv.startswith("uv pip install --quiet --python ")
    assert by_uv.endswith("--find-links wheels --constraint constraints.txt --editable .[dev,bench]")
