"""Two sections of the reports: example users with their lists, and what changed since the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.gate.report.example_users import Example, Shown
from pipelines.privacy.markdown import plain

TITLES = {"history": "History, latest first", "candidate": "Candidate", "champion": "Champion"}
Changes = Mapping[str, Sequence[str]]


def for_page(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Return the users in the form of page.html."""
    return [
        {
            "about": about(example),
            "history_heading": TITLES["history"],
            "history": example.history,
            "lists": [(heading(name, shown), shown) for name, shown in example.lists.items()],
        }
        for example in examples
    ]


def about(example: Example) -> str:
    plural = "" if example.n_history == 1 else "s"
    return f"{example.n_history:,} item{plural} in train, {example.tail_share * 100:.0f} % of them tail items"


def heading(model: str, shown: Sequence[Shown]) -> str:
    n_tail = sum(item.is_tail for item in shown)
    return f"{TITLES.get(model, model.capitalize())}, {n_tail} of {len(shown)} are tail items"


def markdown(examples: Sequence[Example], changes: Changes | None) -> list[str]:
    """Return both sections as lines; `◆` marks a tail item, `✓` an item the user interacted with."""
    lines = ["## What changed since the champion", ""]
    for about_, found in (changes or {"": ["There is no champion yet."]}).items():
        lines += [f"- {about_ + ': ' if about_ else ''}{plain('; '.join(found)) or 'as it was'}"]
    lines += ["", "## Example users", "", "◆ is a tail item, ✓ is an item that the user interacted with in test.", ""]
    for number, example in enumerate(examples, start=1):
        lines += [f"**User {number}**, {about(example)}", ""]
        lines += [f"- {TITLES['history']}: {' · '.join(marked(item) for item in example.history)}"]
        lines += [
            f"- {heading(name, shown)}: {' · '.join(marked(item) for item in shown)}"
            for name, shown in example.lists.items()
        ]
        lines += [""]
    return lines


def marked(item: Shown) -> str:
    return ("◆ " if item.is_tail else "") + plain(item.title) + (" ✓" if item.is_hit else "")
