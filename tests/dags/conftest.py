"""One Airflow for the tests that share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.bentos.smoke import free_port
from pipelines.orchestration import deployment
from tests.clones import Clone
from tests.dags.standalone import Airflow, standalone
from tests.test_pipeline import TINY


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("airflow") / "longtail")
    clone.params({**TINY, "airflow": {"retry_delay": 1, "deployment.port": free_port()}})
    return clone


@pytest.fixture(scope="session")
def airflow(clone: Clone) -> Iterator[Airflow]:
    try:
        with standalone(clone) as started:
            yield started
    finally:
        if (server := deployment.running(clone.root / ".longtail" / deployment.FOLDER)) is not None:
            server.terminate()  # what the DAG `deploy` has started outlives Airflow
            server.wait(30)
