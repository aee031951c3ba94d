"""Number of concurrent stages and tasks in the environment of Airflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.orchestration import components, server
from pipelines.runtime import cgroup, cores
from tests.conftest import REPO, edit_params

PARALLELISM = "AIRFLOW__CORE__PARALLELISM"


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that has params.yaml alone, on a machine of six processors."""
    (tmp_path / "params.yaml").write_bytes((REPO / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cores, "available", lambda: 6)
    for variable in (components.SLOTS, PARALLELISM, server.EXECUTOR, server.BROKER, server.DB):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def test_the_pool_has_a_slot_per_processor_and_small_tasks_find_room_beside_it(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "memory", lambda: None)
    monkeypatch.setattr(cores, "MEMORY", 1)
    found = server.settings(checkout, 1)
    assert (found[components.SLOTS], found[PARALLELISM]) == ("6", "10")


def test_little_memory_makes_fewer_slots_but_at_least_one(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for memory, slots in ((8 << 30, "2"), (1 << 28, "1")):
        monkeypatch.setattr(cgroup, "memory", lambda memory=memory: memory)
        assert server.settings(checkout, 1)[components.SLOTS] == slots


def test_workers_elsewhere_are_not_limited_by_this_machine(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server.EXECUTOR, "KubernetesExecutor")
    assert components.SLOTS not in server.settings(checkout, 1)
    monkeypatch.delenv(server.EXECUTOR)
    monkeypatch.setenv(server.BROKER, "redis://broker")
    found = server.settings(checkout, 1)
    assert components.SLOTS not in found
    assert found[PARALLELISM] == "32"


def test_params_yaml_decides_for_every_executor(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_params(checkout / "params.yaml", "airflow", {"parallel_stages": 3})
    assert server.settings(checkout, 1)[components.SLOTS] == "3"
    monkeypatch.setenv(server.BROKER, "redis://broker")
    assert server.settings(checkout, 1)[components.SLOTS] == "3"
