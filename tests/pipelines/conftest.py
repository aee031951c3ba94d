"""Fixtures of the stages' tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from pipelines.gate.report import charts
from tests.once import folder_of_all
from tests.pipelines.releases import Checkout


@pytest.fixture(scope="session")
def kept_states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_all(tmp_path_factory)


@pytest.fixture(autouse=True)
def drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts of the gate's report are composed, but drawn only for tests with the mark `drawn`: it takes half a second.

    The others read what is beside them.
    """
    if request.node.get_closest_marker("drawn") is None:
        monkeypatch.setattr(charts, "svg", undrawn)


def undrawn(figure: Figure, name: str, label: str) -> str:
    return f'<svg role="img" aria-label="{label}"></svg>'


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_states: Path) -> Checkout:
    """A fresh checkout as the current folder, on a machine where nobody has configured Git."""
    for scope in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{scope}", os.devnull)
    root = tmp_path / "checkout"
    root.mkdir()
    monkeypatch.chdir(root)
    return Checkout.create(root, kept_states)
