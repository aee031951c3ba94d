"""Notes of runs: how a run ended, the verdict or state first, then what people wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 1000  # characters of a note in Airflow's database
OURS = re.compile(r"(PROMOTE|HOLD|REJECT|FAILED|SKIPPED|REJECTED|DONE)\b")  # start of a sentence made here
ACTION = re.compile(r"^[\w.-]+: error: ")
LAST = ("clean_up", "record", "outcome")  # teardowns, whose messages tell nothing about the run


@dataclass(frozen=True)
class Task:
    """A task of an ended run; message: one sentence, if the task left any."""

    task_id: str
    state: str | None
    message: str | None

    @property
    def name(self) -> str:
        return self.task_id.rpartition(".")[2]


def note(summary: str, written: Iterable[str | None]) -> str:
    """Return a note: the summary, then what people wrote; a summary of an earlier end is replaced."""
    texts = [paragraph for text in written if text for paragraph in text.split("\n\n")]
    return "\n\n".join(dict.fromkeys([summary[:700], *(text for text in texts if not OURS.match(text))]))[:LONGEST]


def summary(state: str, tasks: Sequence[Task], verdict: Mapping[str, Any] | None) -> str:
    """Return how a run ended; tasks: in the order of their ends; verdict: of the gate, if it has judged."""
    judged = f"{verdict['verdict']}: {verdict['reason']}" if verdict else ""
    if state == "failed":
        return failure([task for task in tasks if task.state == "failed"], judged)
    told = [task for task in tasks if task.message and task.name not in LAST]
    text = " ".join([judged, *(sentence(task.message) for task in told)]).strip()
    if OURS.match(text):
        return text
    skipped = bool(told) and all(task.state == "skipped" for task in told)
    return f"{'SKIPPED' if skipped else 'DONE'}: {text}" if text else "DONE"


def failure(failed: Sequence[Task], judged: str) -> str:
    failed = [task for task in failed if task.name not in LAST] or [task for task in failed if task.message]
    after = f" The verdict was {judged}" if judged else ""
    if not failed:
        return f"FAILED: a person ended the run.{after}"
    first = next((task for task in failed if task.message), failed[0])
    why = first.message or "the task was ended from outside, or marked as failed"
    return f"FAILED at {first.name}: {sentence(ACTION.sub('', why))}{after}"


def sentence(text: str | None) -> str:
    text = (text or "").strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
