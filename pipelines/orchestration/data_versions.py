"""Versions of the source data at `refs/longtail/source`, and the runs on a version: judged, running, failed.

The runs' own refs tell it: run.json names the version, verdict.json exists after the gate, ended.json after a run that
ended without a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.workspace import git, runs

REF = runs.SOURCE
ENDED = "run/ended.json"


@dataclass(frozen=True)
class Training:
    """A run on a version; text: its verdict, its last finished task, or the task that failed and its message."""

    run_id: str
    state: Literal["judged", "running", "failed"]
    text: str


def trainings(version: str, *, remote: str | None, active: int) -> list[Training]:
    """Return the runs on a version, oldest first.

    active: how many trainings Airflow has queued or running. If there are none, an unfinished run will never end.
    """
    if remote is not None:
        runs.fetch_all(remote)
    tips = git.git("for-each-ref", "--format=%(objectname)", runs.REFS).split()
    records = zip(tips, git.read_files([f"{tip}:{runs.RECORD}" for tip in tips]), strict=True)
    found = [(json.loads(record), tip) for tip, record in records if record is not None]
    mine = [(record, tip) for record, tip in found if record.get("data", {}).get("commit") == version]
    mine.sort(key=lambda run: str(run[0].get("created")))
    return [training(record["run_id"], tip, active) for record, tip in mine]


def training(run_id: str, tip: str, active: int) -> Training:
    verdict, ended = git.read_files([f"{tip}:{runs.VERDICT}", f"{tip}:{ENDED}"])
    if verdict is not None:
        return Training(run_id, "judged", json.loads(verdict)["verdict"])
    if ended is not None and (end := json.loads(ended))["after"] == git.git("rev-parse", f"{tip}^"):
        told = [f"at {task.rpartition('.')[2]}: {text or 'no message'}" for task, text in end["failed"].items()]
        return Training(run_id, "failed", "; ".join(told) or "it was ended before its gate")
    last = f"the last finished task is {last_task(run_id, tip)}"
    return Training(run_id, "running", last) if active else Training(run_id, "failed", f"it was interrupted; {last}")


def last_task(run_id: str, tip: str) -> str:
    subjects = git.git("log", "--format=%s", tip).split("\n")
    return next((s.removesuffix(f" of {run_id}") for s in subjects if s.endswith(f" of {run_id}")), "prepare")


def end(run: runs.Run, failed: Mapping[str, str | None]) -> None:
    """Record the end of a run without a verdict; failed: its failed tasks, each with its message, if known."""
    if (tip := run.tip()) is None or git.read_files([f"{tip}:{runs.VERDICT}"]) != [None]:
        return

    def ended(tip: str) -> dict[str, bytes]:
        content: dict[str, Any] = {"after": tip, "failed": dict(failed)}
        return {ENDED: json.dumps(content, indent=2, ensure_ascii=False).encode()}

    run.add(ended, f"{run.run_id} ended without a verdict")
