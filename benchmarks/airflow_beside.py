"""Three trainings at the same time beside three in a row: bare stages of three checkouts, and runs of one Airflow.

Stages share the processors, so that three at once should take no longer than three in a row, within 1.2 times.
Other work on the machine counts against whichever runs at that moment: rounds alternate, and the load is in the table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks import _results
from tests.clones import Clone
from tests.dags.standalone import TRAIN, Airflow

AT_ONCE, ROUNDS = 3, 2
BEFORE_TRAIN = ("ingest", "validate", "split", "embed")


def bare(folder: Path) -> Iterator[_results.Row]:
    """Yield a row on the stage `train` of the demo, in three copies of a checkout."""
    clone = Clone(folder / "1" / "longtail")
    environment = {name: value for name, value in clone.env.items() if name != "OMP_NUM_THREADS"}
    for stage in BEFORE_TRAIN:
        start(clone.root, stage, environment).wait()
    copies = [shutil.copytree(clone.root, folder / str(n) / "longtail", symlinks=True) for n in range(2, AT_ONCE + 1)]
    roots = [clone.root, *copies]

    def in_a_row() -> None:
        for root in roots:
            assert start(root, "train", environment).wait() == 0

    def at_once() -> None:
        processes = [start(root, "train", environment) for root in roots]
        assert [process.wait() for process in processes] == [0] * AT_ONCE

    yield compared("stage train of the demo, 3 checkouts", in_a_row, at_once)


def runs(airflow: Airflow) -> Iterator[_results.Row]:
    """Yield a row on whole runs of the tiny demo, each with a seed of its own, so that it trains and evaluates."""
    seeds = iter(range(100, 1000))

    def trigger() -> str:
        return airflow.trigger(TRAIN, promotion="never", **{"train.seed": next(seeds)})

    def in_a_row() -> None:
        for _ in range(AT_ONCE):
            airflow.finish(TRAIN, trigger())

    def at_once() -> None:
        for run_id in [trigger() for _ in range(AT_ONCE)]:
            airflow.finish(TRAIN, run_id)

    yield compared("runs of the tiny demo in Airflow", in_a_row, at_once)


def compared(what: str, in_a_row: Callable[[], None], at_once: Callable[[], None]) -> _results.Row:
    load, pairs = os.getloadavg()[0], [(seconds(in_a_row), seconds(at_once)) for _ in range(ROUNDS)]
    row, once = (median(times) for times in zip(*pairs, strict=True))
    return {
        "what": what, "in a row": round(row, 1), "at once": round(once, 1), "ratio": round(once / row, 2),
        "load before": round(load, 1),
    }  # fmt: skip


def seconds(act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def start(root: Path, stage: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command: Sequence[str] = [sys.executable, "-m", f"pipelines.{stage}"]
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
