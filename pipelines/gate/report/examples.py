"""Section on example users: their histories, and the lists of two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.gate.report.example_users import Example, Shown
from pipelines.privacy.markdown import plain

TITLES = {"candidate": "Candidate", "champion": "Champion"}


def for_page(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Return the users in the form of page.html."""
    return [
        {
            "about": about(example),
            "history_heading": history_heading(example),
            "history": example.history,
            "lists": [(heading(name, shown), shown) for name, shown in example.lists.items()],
        }
        for example in examples
    ]


def about(example: Example) -> str:
    plural = "" if example.n_history == 1 else "s"
    return f"{example.n_history:,} item{plural} in train, {example.tail_share * 100:.0f} % of them tail items"


def history_heading(example: Example) -> str:
    """Return the order of the history, which has none without times, and how much of it is shown."""
    shown = f", {len(example.history)} of {example.n_history:,} items" * (len(example.history) < example.n_history)
    return f"History{', latest first' * example.by_time}{shown}"


def heading(model: str, shown: Sequence[Shown]) -> str:
    n_tail = sum(item.is_tail for item in shown)
    return f"{TITLES.get(model, model.capitalize())}, {n_tail} of {len(shown)} are tail items"


def markdown(examples: Sequence[Example]) -> list[str]:
    """Return the section as lines; `◆` marks a tail item, `✓` an item the user interacted with."""
    lines = ["## Example users", "", "◆ is a tail item, ✓ is an item that the user interacted with in test.", ""]
    for number, example in enumerate(examples, start=1):
        lines += [f"**User {number}**, {about(example)}", ""]
        lines += [f"- {history_heading(example)}: {' · '.join(marked(item) for item in example.history)}"]
        lines += [
            f"- {heading(name, shown)}: {' · '.join(marked(item) for item in shown)}"
            for name, shown in example.lists.items()
        ]
        lines += [""]
    return lines


def marked(item: Shown) -> str:
    return ("◆ " if item.is_tail else "") + plain(item.title) + (" ✓" if item.is_hit else "")
