"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from pipelines.package.stage import main as run_package
from tests import judged
from tests.once import made_once
from tests.settings import edited

REPO = Path(__file__).resolve().parents[1]
SCREENSHOTS = REPO / "build" / "screenshots"  # what pages look like, to be looked at after a run of the tests
LONGEST = ("tests/dags/", "tests/test_", "tests/pipelines/runtime/test_spark.py", "tests/bento/")
hypothesis.settings.register_profile("untimed", deadline=None)  # how long a test takes depends on the machine
hypothesis.settings.load_profile("untimed")


class ByServers(LoadScopeScheduling):  # type: ignore[misc]
    """Shares out tests over processes: those of a file stay together, and those that share an Airflow or a Spark."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file in ("tests/dags/test_airflow.py", "tests/dags/test_browser.py"):
            return "airflow"
        return "spark" if "[spark" in nodeid or file == "tests/pipelines/runtime/test_spark.py" else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that none is left for one process at the end; within a file nothing moves.

    They have Airflow, whole runs, Spark, servers.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def place(item: pytest.Item) -> tuple[int, bool]:
        starts = (number for number, start in enumerate(LONGEST) if item.nodeid.startswith(start))
        return next(starts, len(LONGEST)), item.path not in slow

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers:
    return ByServers(config, log)


class Workspace:
    """A folder with dvc.yaml, params.yaml and code of its own, in which stages can run; the current folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        settings = (REPO / "params.yaml").read_text("utf-8")
        (root / "params.yaml").write_text(settings, "utf-8")
        shutil.copy(REPO / "dvc.yaml", root)
        for package in ("models", "pipelines"):  # the code that digests speak of
            without = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPO / package, root / package, ignore=without, copy_function=shutil.copyfile)

    def params(self, section: str, changes: Mapping[str, Any]) -> None:
        """Change keys of a section; a nested key is written `movielens.tags`."""
        edit_params(self.root / "params.yaml", section, changes)


def edit_params(path: Path, section: str, changes: Mapping[str, Any]) -> None:
    """Change keys of a section of a params.yaml; a nested key is written `movielens.tags`."""
    text = path.read_text("utf-8")
    for key, value in changes.items():
        text = edited(text, [section, *key.split(".")], value)
    path.write_text(text, "utf-8")


@pytest.fixture(autouse=True, scope="session")
def unsynced() -> Iterator[None]:
    """Skip fsync in this process: no test can observe a power cut, and each would wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets; tests that need one skip where it is absent."""
    folder = REPO.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the real data sets are not distributed with the project")
    return folder


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of the package stage for the hand-made model of `tests/judged.py`: bento.json and longtail.tar."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            Workspace(folder)
            judged.write()
            run_package()

    return made_once(tmp_path_factory, "packaged", make) / "data" / "package"
