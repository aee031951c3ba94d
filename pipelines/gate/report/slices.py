"""Tables of slices in the reports, from slices.csv: users' slices by accuracy and tail, items' by recall."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.evaluation.metrics import look_up
from pipelines.gate.report import best
from pipelines.gate.report.rules import number
from pipelines.privacy.markdown import cell

Table = Mapping[str, Sequence[str]]
SHOWN = (("users", "ndcg"), ("users", "tail_recall"), ("items", "recall"))
RANGES = ("history", "decile")  # slicings by numbers, with ordered slices
PARTS = {"head": "head", "tail": "tail with train events", "cold": "tail without train events (cold)"}  # of items
GAIN = "gain"  # of the candidate over the champion
SAYS = {
    "users": "Metrics of the lists of these users. Niche users are the fifth with the largest share of tail items in "
    "their history, blockbuster users the fifth with the smallest, diverse all others; history is the number of items "
    "they interacted with in train.",
    "items": "The share of test events on these items that lists hold. A decile is a tenth of the catalogue: 1 has the "
    "most popular items, 10 the least.",
}
SMALL = "a small slice rests on so few users or events that its figures are mostly chance"
MARKED = f"{best.SAYS}, except in small slices."


@dataclass(frozen=True)
class Slice:
    name: str
    n: int  # users with a defined metric, or items
    n_events: int
    small: bool
    values: dict[str, float | None] = field(default_factory=dict)  # by model


def tables(columns: Table) -> Iterator[tuple[str, str, list[Slice]]]:
    """Table of slices: users or items, a metric, and the slices."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for of, base in SHOWN:
        (metric,) = (name for name in columns if name.partition("@")[0] == base)
        slicings = list(dict.fromkeys(row["slicing"] for row in rows))
        found: dict[str, Slice] = {}
        of_kind = (row for row in rows if row["of"] == of)
        for row in sorted(
            of_kind, key=lambda row: (slicings.index(row["slicing"]), place(row["slicing"], row["slice"]))
        ):
            name = f"{row['slicing']} {label(of, row['slicing'], row['slice'])}"
            n, small = ("n_tail_users", "small_tail") if base == "tail_recall" else ("n", "small")
            new = Slice(name, int(row[n]), int(row["n_events"]), row[small] == "True")
            found.setdefault(name, new).values[row["model"]] = float(row[metric]) if row[metric] else None
        yield of, metric, list(found.values())


def place(slicing: str, value: str) -> int:
    """Return the sort key of a slice in its slicing; equal for all if the order is that of the file."""
    if slicing == "part" and value in PARTS:
        return list(PARTS).index(value)
    digits = re.match(r"\d+", value)
    return int(digits[0]) if slicing in RANGES and digits else 0


def label(of: str, slicing: str, value: str) -> str:
    if of == "items" and slicing == "decile":
        return value.lstrip("0")
    return PARTS.get(value, value) if of == "items" and slicing == "part" else value


def cells(each: Slice) -> dict[str, str]:
    """Return the models' figures as text, and the candidate's gain if there is a champion."""
    found = {model: number(value) for model, value in each.values.items()}
    if "champion" in each.values:
        ours, theirs = each.values.get("candidate"), each.values["champion"]
        found[GAIN] = "–" if ours is None or theirs is None else f"{ours - theirs:+.4f}"
    return found


def marked(each: Slice, metric: str) -> list[tuple[str, bool]]:
    """Return the figures of a row as text, and whether each is the best; a small slice has no best one."""
    values = [None] * len(each.values) if each.small else list(each.values.values())
    marks = best.marks(values, higher_is_better=look_up(metric)[1].higher_is_better)
    texts = list(cells(each).values())
    return list(zip(texts, [*marks, *[False] * (len(texts) - len(marks))], strict=True))


def markdown(columns: Table) -> list[str]:
    lines = ["## Slices", "", *(f"- {of}: {says}" for of, says in SAYS.items()), f"- *: {SMALL}", f"- {MARKED}", ""]
    for of, metric, found in tables(columns):
        names = list(cells(found[0])) if found else []
        lines += [
            f"{title(of, metric, names)}:",
            "",
            f"| slice | {of} | test events | {' | '.join(names)} |",
            f"|---|--:|--:|{'--:|' * len(names)}",
            *(
                f"| {cell(each.name)}{' *' if each.small else ''} | {each.n:,} | {each.n_events:,} | "
                f"{' | '.join(best.bold(*figure) for figure in marked(each, metric))} |"
                for each in found
            ),
            "",
        ]
    return lines


def title(of: str, metric: str, names: Sequence[str]) -> str:
    return f"{metric} for slices of {of}" + (", gain = candidate - champion" if GAIN in names else "")


def for_page(columns: Table) -> Iterator[dict[str, Any]]:
    """Return the tables in the form of page.html."""
    for of, metric, found in tables(columns):
        names = list(cells(found[0])) if found else []
        rows = [(each, marked(each, metric)) for each in found]
        yield {"of": of, "title": title(of, metric, names), "names": names, "rows": rows}
