"""Mark the best figures of a row."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.gate.report.rules import number

SAYS = "The best figure of a row is bold"


def marks(values: Sequence[float | None], *, higher_is_better: bool) -> list[bool]:
    """Return which figures are the best as shown, ties included; none if all are equal, or only one is known."""
    known = [value for value in values if value is not None]
    if len({number(value) for value in known}) < 2:
        return [False] * len(values)
    best = number(max(known) if higher_is_better else min(known))
    return [value is not None and number(value) == best for value in values]


def bold(text: str, is_best: bool) -> str:
    """Return a figure in Markdown."""
    return f"**{text}**" if is_best else text
