"""Two sections of the reports: example users with their lists, and what changed since the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pipelines._examples import Example, Shown

CSS = """
.users { display: grid; gap: 1.4rem; }
.user { border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1.1rem 1rem; break-inside: avoid; }
.user h3 { margin: 0 0 .6rem; font-size: .95rem; } .user h3 small { font-weight: 400; color: var(--soft); }
.lists { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0 1.6rem; }
.lists h4 { margin: 0 0 .2rem; font-size: .8rem; color: var(--soft); }
.lists ol, .lists ul { margin: 0; font-size: .86rem; line-height: 1.5; }
.lists ol { list-style-position: inside; padding-left: 0; } .lists ul { list-style: none; padding-left: 0; }
.lists li { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.tail { color: #0f766e; } .tail::before { content: "◆ "; font-size: .7em; vertical-align: .12em; }
.hit { font-weight: 650; } .hit::before { content: "✓ "; } .tail.hit::before { content: "◆ ✓ "; font-size: .85em; }
.changes dt { font-weight: 600; } .changes dd { margin: 0 0 .5rem; color: var(--soft); }
@media (max-width: 44rem) { .lists { grid-template-columns: 1fr; } }
"""
TITLES = {"history": "Touched, the latest first", "candidate": "Candidate", "champion": "Champion"}
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
    return f"{example.n_history:,} item{plural} in train, {example.tail_share:.0%} of the tail"


def heading(model: str, shown: Sequence[Shown]) -> str:
    n_tail = sum(item.is_tail for item in shown)
    return f"{TITLES.get(model, model.capitalize())}, {n_tail} of the tail"


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
        lines += [f"- touched: {', '.join(marked(item) for item in example.history)}"]
        lines += [f"- {name}: {', '.join(marked(item) for item in shown)}" for name, shown in example.lists.items()]
        lines += [""]
    return lines


def marked(item: Shown) -> str:
    return ("◆ " if item.is_tail else "") + plain(item.title) + (" ✓" if item.is_hit else "")


def plain(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    for sign in "\\`*_[]<|":
        text = text.replace(sign, f"\\{sign}" if sign != "<" else "&lt;")
    return " ".join(text.split())
