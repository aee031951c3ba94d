"""One Airflow for the tests that share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clones import Clone
from tests.dags.standalone import Airflow, standalone
from tests.test_pipeline import TINY


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("airflow") / "longtail")
    clone.params({**TINY, "airflow": {"retry_delay": 1}})
    return clone


@pytest.fixture(scope="session")
def airflow(clone: Clone) -> Iterator[Airflow]:
    with standalone(clone) as started:
        yield started
