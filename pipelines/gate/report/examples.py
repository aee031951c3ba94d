"""Two sections of the reports: example users with their lists, and what changed since the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pipelines.gate.report.example_users import Example, Shown
from pipelines.privacy.markdown import plain

TITLES = {"history": "Touched, the last new one first", "candidate": "Candidate", "champion": "Champion"}
Changes = Mapping[str, Sequence[str]]


def html(examples: Sequence[Example]) -> str:
    """A block for each user, tail items and hits marked."""
    blocks = ""
    for number, example in enumerate(examples, start=1):
        columns = f"<div><h4>{TITLES['history']}</h4><ul>{items(example.history)}</ul></div>" + "".join(
            f"<div><h4>{escape(heading(name, shown))}</h4><ol>{items(shown)}</ol></div>"
            for name, shown in example.lists.items()
        )
        blocks += (
            f'<div class="user"><h3>User {number} <small>{about(example)}</small></h3>'
            f'<div class="lists">{columns}</div></div>'
        )
    return (
        f"<h2>What it looks like</h2><p>Five users, from who lives off the tail to who keeps to the head. "
        '<span class="tail">Tail items</span> have a diamond, <span class="hit">what the user did touch in test</span> '
        f'a tick.</p><div class="users">{blocks}</div>'
    )


def items(shown: Sequence[Shown]) -> str:
    return "".join(
        f'<li class="{" ".join(["tail"] * item.is_tail + ["hit"] * item.is_hit)}" title="{escape(item.title)}">'
        f"{escape(item.title)}</li>"
        for item in shown
    )


def about(example: Example) -> str:
    plural = "" if example.n_history == 1 else "s"
    return f"{example.n_history:,} item{plural} in train, {example.tail_share * 100:.0f} % of them tail items"


def heading(model: str, shown: Sequence[Shown]) -> str:
    n_tail = sum(item.is_tail for item in shown)
    return f"{TITLES.get(model, model.capitalize())}, {n_tail} of {len(shown)} are tail items"


def changes_html(changes: Changes | None) -> str:
    rows = "".join(
        f"<dt>{escape(about)}</dt><dd>{'<br>'.join(escape(line) for line in lines) or 'as it was'}</dd>"
        for about, lines in (changes or {}).items()
    )
    body = f'<dl class="changes">{rows}</dl>' if rows else "<p>There is no champion yet.</p>"
    return f"<h2>What changed since the champion</h2>{body}"


def markdown(examples: Sequence[Example], changes: Changes | None) -> list[str]:
    """Both sections as lines; `◆` marks a tail item, `✓` what the user did touch."""
    lines = ["## What changed since the champion", ""]
    for about_, found in (changes or {"": ["There is no champion yet."]}).items():
        lines += [f"- {about_ + ': ' if about_ else ''}{plain('; '.join(found)) or 'as it was'}"]
    lines += ["", "## What it looks like", "", "◆ is a tail item, ✓ is what the user did touch in test.", ""]
    for number, example in enumerate(examples, start=1):
        lines += [f"**User {number}**, {about(example)}", ""]
        lines += [f"- touched: {' · '.join(marked(item) for item in example.history)}"]
        lines += [
            f"- {heading(name, shown)}: {' · '.join(marked(item) for item in shown)}"
            for name, shown in example.lists.items()
        ]
        lines += [""]
    return lines


def marked(item: Shown) -> str:
    return ("◆ " if item.is_tail else "") + plain(item.title) + (" ✓" if item.is_hit else "")
