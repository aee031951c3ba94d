"""The Bento of `tests/judged.py`, in a store and on a port of its own; a browser that knows two more hosts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pipelines.artifacts import outputs
from pipelines.bentos import smoke
from pipelines.bentos import store as bentos
from tests.browser import chromium
from tests.once import made_once

HOSTS = "MAP *.test 127.0.0.1"  # other sites' names, which point to this machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules={HOSTS}") as started:
        yield started


@pytest.fixture(scope="session")
def tag(packaged: Path) -> str:
    return str(outputs.read_json(packaged / "bento.json")["tag"])


@pytest.fixture(scope="session")
def store(packaged: Path, tag: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BentoML store that holds the packaged Bento."""

    def make(home: Path) -> None:
        bentos.run("import", str(packaged / "longtail.tar"), env=bentos.environment(home))

    imported = made_once(tmp_path_factory, "store", make)
    return shutil.copytree(imported, tmp_path_factory.mktemp("own") / "store")  # a server's end ends all of its store


@pytest.fixture(scope="session")
def url(store: Path, tag: str) -> Iterator[str]:
    """Address of a server of it."""
    with smoke.serving(tag, home=store, timeout=60) as address:
        yield address
