"""Notes of runs, as a list of runs shows them: the verdict or the failure first."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import REPO

JUDGED = {"verdict": "PROMOTE", "reason": "All 9 rules hold."}
Tasks = Sequence[tuple[str, str, str | None]]


@pytest.fixture(scope="module")
def notes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notes", REPO / "dags" / "run_notes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_notes"] = module  # where its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def summary(notes: ModuleType, state: str, tasks: Tasks, verdict: Any = None) -> str:
    text: str = notes.summary(state, [notes.Task(*task) for task in tasks], verdict)
    return text


@pytest.mark.parametrize(
    ("state", "tasks", "verdict", "expected"),
    [
        ("success", [("decide", "success", None), ("reject", "success", None)], {"verdict": "REJECT", "reason": "x."},
         "REJECT: x."),
        ("success", [("release.promote", "success", "v2.0.0 serves now")], JUDGED,
         "PROMOTE: All 9 rules hold. v2.0.0 serves now."),
        ("success", [("release.promote", "skipped", "this model is v1.0.0, which was rolled back")], JUDGED,
         "PROMOTE: All 9 rules hold. this model is v1.0.0, which was rolled back."),
        ("success", [("look", "skipped", "no change at data/raw")], None, "SKIPPED: no change at data/raw."),
        ("success", [("rollback", "success", "v1.0.0 serves again")], None, "DONE: v1.0.0 serves again."),
        ("success", [("approve", "success", "REJECTED by Ada: too few"), ("clean_up", "skipped", "nothing")], None,
         "REJECTED by Ada: too few."),
        ("failed", [("prepare", "failed", "prepare: error: no such path"), ("outcome", "failed", None)], None,
         "FAILED at prepare: no such path."),
        ("failed", [("model.train", "failed", None), ("clean_up", "failed", "a lock")], None,
         "FAILED at train: the task was ended from outside, or marked as failed."),
        ("failed", [("release.package", "failed", "package: error: no room")], JUDGED,
         "FAILED at package: no room. The verdict was PROMOTE: All 9 rules hold."),
        ("failed", [("outcome", "failed", None)], None, "FAILED: a person ended the run."),
        ("success", [], None, "DONE"),
    ],
)  # fmt: skip
def test_a_note_begins_with_the_verdict_or_with_how_the_run_ended(
    notes: ModuleType, state: str, tasks: Tasks, verdict: Any, expected: str
) -> None:
    assert summary(notes, state, tasks, verdict) == expected


def test_what_people_wrote_follows_once_and_stays_when_a_run_is_repeated(notes: ModuleType) -> None:
    first = notes.note("FAILED at train: no room.", ["for the holidays", None])
    assert first == "FAILED at train: no room.\n\nfor the holidays"
    edited = f"{first}\n\nAda looks at it"
    again = notes.note("HOLD: too few users.", ["for the holidays", edited])
    assert again == "HOLD: too few users.\n\nfor the holidays\n\nAda looks at it"


def test_a_long_reason_leaves_room_for_the_note_of_a_person(notes: ModuleType) -> None:
    found = notes.note("REJECT: " + "x" * 5000, ["why"])
    assert len(found) <= 1000  # longer ones fail in Airflow's database
    assert found.endswith("\n\nwhy")
