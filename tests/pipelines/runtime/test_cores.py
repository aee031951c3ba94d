"""Threads of a stage: its share of the processors, beside stages that come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO
from uuid import uuid4

import pytest
import torch

from pipelines.runtime import cgroup, cores
from tests.conftest import REPO

STAGE = """
import sys
from pipelines.runtime import cores
cores.NAMES[:] = [f"\\0{sys.argv[1]}-{number}" for number in range(4)]
cores.available = lambda: 2
cores.claim()
import os, duckdb, numba, pyarrow, torch
print(cores.threads(), torch.get_num_threads(), pyarrow.cpu_count(), os.environ["OPENBLAS_NUM_THREADS"], flush=True)
for line in sys.stdin:
    cores.follow()
    print(cores.threads(), torch.get_num_threads(), flush=True)
"""


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the test names of its own, apart from stages that run beside it."""
    name = f"test-{uuid4().hex}"
    monkeypatch.setattr(cores, "NAMES", [f"\0{name}-{number}" for number in range(4)])
    monkeypatch.setattr(cores, "Claim", type("Claim", (), {"held": None, "follows": False}))
    monkeypatch.setattr(cores, "available", lambda: 2)
    for variable in (cores.VARIABLE, *cores.OTHERS, cores.OPENBLAS, "LOCAL_RANK"):
        monkeypatch.setenv(variable, "0")  # so that it is restored, if the test sets it
        monkeypatch.delenv(variable)
    return name


@contextmanager
def stage(name: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    inherited = {key: os.environ[key] for key in os.environ if not key.endswith("_NUM_THREADS")}  # claim() sets them
    process = subprocess.Popen(
        [sys.executable, "-c", STAGE, name], cwd=REPO, env={**inherited, **environment}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, process.stdin, process.stdout
    finally:
        process.kill()
        process.communicate()


def test_a_stage_alone_has_all_processors() -> None:
    cores.claim()
    assert (cores.running(), cores.threads()) == (1, 2)


def test_a_stage_killed_by_sigkill_leaves_its_share_to_the_others(names: str) -> None:
    cores.claim()
    with stage(names) as (process, _, output):
        assert output.readline() == "1 1 1 1\n"
        assert cores.threads() == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (cores.running(), cores.threads()) == (1, 2)


def test_a_running_stage_gives_threads_back_to_one_that_starts_later(names: str) -> None:
    with stage(names) as (_, asks, output):
        assert output.readline() == "2 2 2 1\n"
        cores.claim()
        asks.write("\n")
        asks.flush()
        assert output.readline() == "1 1\n"


def test_a_number_of_threads_in_the_environment_is_kept(names: str) -> None:
    cores.claim()
    with stage(names, OMP_NUM_THREADS="2,1", OPENBLAS_NUM_THREADS="5") as (_, asks, output):
        assert output.readline() == "2 2 2 5\n"
        asks.write("\n")
        asks.flush()
        assert output.readline() == "2 2\n"
        assert cores.threads() == 1  # it is a neighbour nevertheless


def test_ranks_of_one_stage_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cores.claim()
    monkeypatch.setattr(cores, "Claim", type("Claim", (), {"held": None, "follows": False}))
    monkeypatch.setenv("LOCAL_RANK", "0")
    cores.claim()
    assert cores.running() == 1


def test_more_stages_than_processors_and_names_have_one_thread_each(
    names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "available", lambda: 2)
    held = [cores.bound() for _ in range(5)]
    assert [each is None for each in held] == [False] * 4 + [True]
    assert cores.share() == 1
    for each in held:
        if each is not None:
            each.close()


def test_processors_are_bounded_by_affinity_and_by_a_quota_of_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5})
    for quota, expected in ((None, 3), (2.5, 2), (0.5, 1), (64.0, 3)):
        monkeypatch.setattr(cgroup, "processors", lambda quota=quota: quota)
        assert cores.available() == expected


def test_a_process_that_is_not_a_stage_leaves_torch_alone() -> None:
    before = torch.get_num_threads()
    cores.follow()
    assert torch.get_num_threads() == before
