"""The Bento of `tests/judged.py`, in a store and on a port of its own; a browser that knows two more hosts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from pipelines.artifacts import outputs
from pipelines.bentos import smoke
from pipelines.bentos import store as bentos

CHROMIUM = os.environ.get("LONGTAIL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
HOSTS = "MAP *.test 127.0.0.1"  # other sites' names, which point to this machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium: install the package chromium, or name the program in LONGTAIL_CHROMIUM")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", f"--host-resolver-rules={HOSTS}"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def tag(packaged: Path) -> str:
    return str(outputs.read_json(packaged / "bento.json")["tag"])


@pytest.fixture(scope="session")
def store(packaged: Path, tag: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BentoML store that holds the packaged Bento."""
    home = tmp_path_factory.mktemp("store")
    bentos.run("import", str(packaged / "longtail.bento"), env=bentos.environment(home))
    return home


@pytest.fixture(scope="session")
def url(store: Path, tag: str) -> Iterator[str]:
    """Address of a server of it."""
    with smoke.serving(tag, home=store, timeout=60) as address:
        yield address
