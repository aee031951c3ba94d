"""Kill parts of a real Airflow in the middle of a training: tasks, supervisors, the scheduler, all of it.

Ten minutes and more, so only where LONGTAIL_FAULTS is set: `make test-faults`.
"""

from __future__ import annotations

import json
import os
import time

import psutil
import pytest

from tests.clones import Clone
from tests.dags.standalone import TRAIN, Airflow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("LONGTAIL_FAULTS" not in os.environ, reason="set LONGTAIL_FAULTS, or `make test-faults`"),
]

WORSE = {"train.als.embedding_dim": 2, "train.als.epochs": 1}


def environ(process: psutil.Process) -> dict[str, str]:
    try:
        found: dict[str, str] = process.environ()
    except psutil.Error:
        return {}
    return found


def working_in(clone: Clone) -> list[psutil.Process]:
    """Processes of stages that work in a run's worktree."""
    return [p for p in psutil.process_iter() if str(clone.root) in environ(p).get("LONGTAIL_WORKSPACE", "")]


def trainers(clone: Clone) -> list[psutil.Process]:
    """Processes of the stage `train`, without the shell that starts them."""
    return [process for process in working_in(clone) if "pipelines.train" in command(process)]


def command(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found


def training(airflow: Airflow, seed: int) -> str:
    """A run that is in the middle of training a model nobody has trained before."""
    run_id = airflow.trigger(TRAIN, **{"train.seed": seed, "train.als.epochs": 1000})
    airflow.reach(TRAIN, run_id, "train", "running")
    airflow.until(lambda: trainers(airflow.clone) or None)
    return run_id


def test_marking_a_task_failed_ends_its_stage_within_seconds(clone: Clone, airflow: Airflow) -> None:
    run_id = training(airflow, 1)
    path = f"dags/{TRAIN}/dagRuns/{run_id}/taskInstances/model.train"
    marked = time.monotonic()
    assert airflow.call("PATCH", path, {"new_state": "failed"}).ok
    airflow.until(lambda: True if not working_in(clone) else None)
    print(f"ended {time.monotonic() - marked:.1f} s after it was marked failed")
    airflow.finish(TRAIN, run_id, "failed")
    assert not list((clone.root / ".longtail" / "runs").iterdir())


def test_a_killed_supervisor_takes_its_stage_along_and_the_retry_goes_on(clone: Clone, airflow: Airflow) -> None:
    run_id = training(airflow, 2)
    (stage,) = trainers(clone)
    task = next(process for process in stage.parents() if "pipelines.orchestration.task" in command(process))
    supervisor = task.parent().parent()
    supervisor.kill()
    airflow.until(lambda: True if not stage.is_running() else None)
    airflow.until(lambda: True if not task.is_running() else None)
    again = airflow.until(lambda: found if (found := airflow.tasks(TRAIN, run_id)["train"])["try_number"] > 1 else None)
    assert again["try_number"] == 2
    airflow.until(lambda: trainers(clone) or None)
    assert len(trainers(clone)) == 1
    airflow.call("PATCH", f"dags/{TRAIN}/dagRuns/{run_id}", {"state": "failed"})
    airflow.until(lambda: True if not working_in(clone) else None)


def test_a_killed_scheduler_is_started_again_and_its_run_finishes(clone: Clone, airflow: Airflow) -> None:
    run_id = airflow.trigger(TRAIN, **WORSE)
    airflow.reach(TRAIN, run_id, "ingest", "running")
    scheduler = next(process for process in airflow.processes() if "scheduler" in command(process))
    scheduler.kill()
    airflow.finish(TRAIN, run_id)
    assert airflow.states(TRAIN, run_id)["reject"] == "success"


def test_three_runs_at_once_finish_and_their_promotions_follow_each_other(clone: Clone, airflow: Airflow) -> None:
    runs = [airflow.trigger(TRAIN, **{"train.als.epochs": 12, "train.als.embedding_dim": d}) for d in (24, 28, 36)]
    for run_id in runs:
        airflow.finish(TRAIN, run_id)
    tags = ["for-each-ref", "--format=%(refname:short) %(contents:subject)", "refs/tags/longtail#prod#*"]
    said = sorted(clone.git(*tags).splitlines(), key=lambda line: int(line.split()[0].rpartition("#")[2]))
    promoted = [line.split()[2] for line in said]
    print(said)
    assert said[0].endswith(f"promote {promoted[0]} as the first version")
    for line, before in zip(said[1:], promoted, strict=False):
        assert line.endswith(f"in place of {before}")


def up(airflow: Airflow) -> None:
    printed = airflow.clone.longtail("airflow", "up", "--port", airflow.url.rpartition(":")[2])
    assert "sign in as" in printed
    airflow.until(lambda: True if airflow.call("GET", f"dags/{TRAIN}").ok else None)


@pytest.mark.parametrize("everything", [False, True])
def test_an_airflow_that_was_killed_starts_again_and_blocks_nothing(
    clone: Clone, airflow: Airflow, everything: bool
) -> None:
    run_id = training(airflow, 3 + everything)
    record = json.loads((airflow.home / "running.json").read_text())
    before = airflow.processes()
    for process in before if everything else [psutil.Process(record["pid"])]:
        process.kill()
    up(airflow)
    assert not [process for process in before if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    airflow.until(lambda: found if (found := airflow.tasks(TRAIN, run_id)["train"])["try_number"] > 1 else None)
    airflow.until(lambda: trainers(clone) or None)
    assert len(trainers(clone)) == 1
    airflow.call("PATCH", f"dags/{TRAIN}/dagRuns/{run_id}", {"state": "failed"})
    airflow.until(lambda: True if not working_in(clone) else None)


def test_a_stage_in_which_airflow_was_restarted_twice_goes_on(clone: Clone, airflow: Airflow) -> None:
    run_id = training(airflow, 6)
    for attempt in (2, 3):
        clone.longtail("airflow", "down")
        up(airflow)
        airflow.until(lambda: trainers(clone) or None)
        assert airflow.tasks(TRAIN, run_id)["train"]["try_number"] == attempt  # none was lost to a server not yet there
    airflow.call("PATCH", f"dags/{TRAIN}/dagRuns/{run_id}", {"state": "failed"})
    airflow.finish(TRAIN, run_id, "failed")


def test_it_starts_again_after_it_was_stopped_which_leaves_no_process(clone: Clone, airflow: Airflow) -> None:
    training(airflow, 5)
    before = airflow.processes()
    assert "Airflow is stopped" in clone.longtail("airflow", "down")
    airflow.until(lambda: True if not working_in(clone) else None)
    assert not [process for process in before if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    up(airflow)
    airflow.finish(TRAIN, airflow.trigger(TRAIN, **WORSE))
