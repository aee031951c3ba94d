"""A workspace that was judged once, for tests that read its verdict and report."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.artifacts import outputs
from pipelines.evaluate import stage as evaluate
from pipelines.gate import stage as gate
from pipelines.gate import verdict
from tests.conftest import Workspace
from tests.once import made_once
from tests.pipelines import holdouts
from tests.pipelines.holdouts import model


@pytest.fixture(scope="session")
def judged_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a promoted candidate and the charts of its report; tests change copies only."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            Workspace(folder)
            holdouts.write_all(model(knowledge=1), model(knowledge=0.9))
            evaluate.main()
            gate.main()
            assert outputs.read_json(verdict.PATH)["verdict"] == "PROMOTE"

    return made_once(tmp_path_factory, "judged", make)
