"""Overhead of Airflow and DVC over the bare stages, task by task: of a run that computes, and of a fully cached one.

Both are runs of the tiny demo on a fresh Airflow in a clone of the working tree. `stage` is the stage's own process,
timed alone in another clone; `dvc` DVC's time in addition, or for a cached stage; `process` the overhead of the process
around it (start of Python, worktree, Git); `airflow` the rest of the task; `wait` the time since the end of the
previous task. The last table compares three trainings at once with three in a row.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import _results, airflow_beside
from tests.clones import Clone
from tests.dags.standalone import TRAIN, Airflow, standalone
from tests.test_pipeline import TINY

STAGES = ("ingest", "validate", "split", "embed", "train", "champion", "evaluate", "gate", "package")


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.airflow", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="longtail-bench-") as folder:
        alone, clone = (Clone(Path(folder) / name / "longtail") for name in ("alone", "airflow"))
        alone.params(TINY)
        clone.params(TINY)
        bare = dict(timed(alone))
        with standalone(clone) as airflow:
            computed = run(airflow, "promote")
            cached = run(airflow, "promote")
            beside = list(airflow_beside.runs(airflow))
        beside += airflow_beside.bare(Path(folder))
    _results.run(
        "airflow",
        {
            "computed": ("Seconds of a run that computes every stage", lambda: rows(computed, bare)),
            "cached": ("Seconds of a run whose stages are all cached", lambda: rows(cached, {})),
            "beside": ("Seconds of three trainings in a row, and at once", lambda: iter(beside)),
        },
        None,
    )


def run(airflow: Airflow, last: str) -> dict[str, Any]:
    """Return the task instances of a new run, in the order of their ends, with their results."""
    run_id = airflow.trigger(TRAIN)
    about = airflow.finish(TRAIN, run_id)
    tasks = [task for task in airflow.tasks(TRAIN, run_id).values() if task["duration"] and task["state"] == "success"]
    assert any(task["task_id"].endswith(last) for task in tasks)
    for task in tasks:
        path = f"dags/{TRAIN}/dagRuns/{run_id}/taskInstances/{task['task_id']}/xcomEntries"
        keys = [entry["key"] for entry in airflow.get(path)["xcom_entries"]]
        value = airflow.get(f"{path}/return_value")["value"] if "return_value" in keys else {}
        task["result"] = value if isinstance(value, dict) else {}
    return {"run": about, "tasks": sorted(tasks, key=lambda task: task["end_date"])}


def timed(clone: Clone) -> Iterator[tuple[str, float]]:
    """Yield (stage, seconds) of the bare stages in order, in the clone itself."""
    for name in STAGES:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", f"pipelines.{name}"], cwd=clone.root, env=clone.env, check=True, capture_output=True
        )
        yield name, time.perf_counter() - started


def rows(found: dict[str, Any], bare: dict[str, float]) -> Iterator[_results.Row]:
    before = moment(found["run"]["queued_at"] or found["run"]["start_date"])
    total = dict.fromkeys(("stage", "dvc", "process", "airflow", "wait"), 0.0)
    for task in found["tasks"]:
        name, started = task["task_id"].rpartition(".")[2], moment(task["start_date"])
        inside, process = task["result"].get("seconds"), task["result"].get("process_seconds")
        stage = bare.get(name)
        figures = {
            "stage": stage,
            "dvc": inside - (stage or 0.0) if inside is not None else None,
            "process": process - (inside or 0.0) if process is not None else None,
            "airflow": task["duration"] - (process or 0.0),
            "wait": max(started - before, 0.0),
        }
        before = moment(task["end_date"])
        for key, value in figures.items():
            total[key] += value or 0.0
        how = task["result"].get("how") or ""
        yield {"task": name, "outcome": how, **{k: None if v is None else round(v, 2) for k, v in figures.items()}}
    whole = moment(found["run"]["end_date"]) - moment(found["run"]["queued_at"] or found["run"]["start_date"])
    yield {"task": "all", "outcome": f"{whole:.1f} s", **{key: round(value, 2) for key, value in total.items()}}


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()
