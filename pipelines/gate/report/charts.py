"""Charts of the gate report, as inline SVG, equal for equal figures."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "candidate": "#0f766e", "champion": "#b45309", "content": "#7c3aed", "popularity": "#475569", "random": "#64748b"
}  # fmt: skip
DASHES: dict[str, Any] = {
    "candidate": "-", "champion": (0, (5, 2)), "content": (0, (6, 2, 1, 2)), "popularity": (0, (1, 1.5)),
    "random": (0, (2, 3)),
}  # fmt: skip
OLDER = ("#0369a1", "P", (0, (3, 1.5)))  # of best releases, named by their versions: colour, marker, dashes
MARKERS = {"candidate": "o", "champion": "s", "content": "^", "popularity": "D", "random": "v"}
METHODS: dict[str, tuple[str, str, Any]] = {  # of re-ranking: colour, marker, dashes
    "none": ("#475569", "D", "-"), "popularity": ("#b45309", "s", (0, (5, 2))), "xquad": ("#1d4ed8", "^", (0, (2, 2))),
    "slots": ("#0f766e", "o", "-"),
}  # fmt: skip
METHODS_SAY = (
    "slots keeps the last two of every five places for tail items, those shown least first; xquad balances head and "
    "tail as the user's history does; popularity ranks popular items lower; none goes by score alone."
)
STYLE: Any = {  # matplotlib types the keys one by one
    "svg.fonttype": "none",  # text stays text, in the page's font
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#94a3b8",
    "axes.labelcolor": "#334155",
    "xtick.color": "#475569",
    "ytick.color": "#475569",
    "axes.grid": True,
    "grid.color": "#eef2f6",
    "axes.axisbelow": True,
}
Columns = Mapping[str, Sequence[str]]
Point = tuple[str, float, float]  # name, x, y


def tradeoff(columns: Columns, k: int) -> str:
    """Draw accuracy against tail coverage, a point per model, with the Pareto front."""
    figure, axes = canvas(f"share of the tail shown in the top {k}", f"ndcg@{k}")
    points = list(zip(columns["model"], numbers(columns["tail_coverage"]), numbers(columns["ndcg"]), strict=True))
    best = np.array(front([(x, y) for _, x, y in points]))  # (m, 2)
    axes.plot(*best.T, color="#94a3b8", linewidth=1, linestyle=(0, (4, 3)), zorder=2, label="Pareto front")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(y for _, _, y in points) * 1.2 or 1)
    for name, x, y in points:
        axes.scatter([x], [y], s=70, color=colour(name), marker=MARKERS.get(name, OLDER[1]), zorder=3, clip_on=False)
    height = axes.get_ylim()[1] * 0.075
    for name, x, y in apart(points, width=0.3, height=height):
        crowded = any(0 < other - x < 0.3 and abs(at - y) < height for _, other, at in points)  # to the right
        side = {"xytext": (-8, -4), "ha": "right"} if crowded or x > 0.7 else {"xytext": (8, -4)}
        above_axis = max(y, 0.6 * height)
        axes.annotate(name, (x, above_axis), textcoords="offset points", color=colour(name), **side)
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    return svg(figure, "tradeoff", f"ndcg and tail coverage at {k} of {', '.join(columns['model'])}")


def apart(points: Sequence[Point], *, width: float, height: float) -> list[Point]:
    """Return the heights of the names, from top to bottom, so that none covers another."""
    placed: list[Point] = []
    for name, x, y in sorted(points, key=lambda point: -point[2]):
        lowest = [other for _, left, other in placed if abs(left - x) < width and abs(other - y) < height * len(points)]
        placed.append((name, x, min([y, *(other - height for other in lowest)])))
    return placed


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto front of points, by the first coordinate."""
    return sorted({p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)})


def pareto(columns: Columns) -> str:
    """Draw accuracy against tail coverage of every re-ranking setting on valid, with a ring around the chosen one."""
    figure, axes = canvas("share of the tail shown in the top 10", "ndcg@10")
    points = list(zip(
        columns["method"], numbers(columns["valid_tail_coverage"]), numbers(columns["valid_ndcg"]), columns["chosen"],
        strict=True,
    ))  # fmt: skip
    for method in dict.fromkeys(columns["method"]):
        x, y = zip(*((x, y) for name, x, y, _ in points if name == method), strict=True)
        hue, marker, dashes = METHODS.get(method, ("#7c3aed", "v", "-"))
        axes.plot(x, y, marker=marker, markersize=5, linewidth=1, linestyle=dashes, color=hue, label=method)
    x, y = zip(*((x, y) for _, x, y, chosen in points if chosen == "1"), strict=True)
    axes.scatter(x, y, s=130, facecolors="none", edgecolors="#0f172a", linewidths=1.5, zorder=4, label="chosen")
    axes.legend(frameon=False)
    return svg(figure, "pareto", "ndcg and tail coverage at 10 of every way of re-ranking")


def deciles(columns: Columns, k: int) -> str:
    """Draw recall per popularity decile, candidate beside champion (beside popularity without a champion)."""
    shown = [name for name in ("candidate", "champion", "popularity") if present(columns.get(name, []))][:2]
    figure, axes = canvas("popularity decile of the item, 1 = most popular", f"recall@{k}")
    width = 0.8 / max(len(shown), 1)
    for place, name in enumerate(shown):
        left = [float(decile) - 0.4 + width * (place + 0.5) for decile in columns["decile"]]
        axes.bar(
            left,
            [0.0 if math.isnan(v) else v for v in numbers(columns[name])],
            width * 0.92,
            label=name,
            edgecolor=colour(name),
            facecolor=colour(name) if place == 0 else "#ffffff",
            hatch="" if place == 0 else "/////",
        )
    axes.set_xticks([int(decile) for decile in columns["decile"]])
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=len(shown))
    return svg(figure, "deciles", f"recall at {k} by popularity decile of {' and '.join(shown)}")


def lorenz(columns: Columns, k: int) -> str:
    """Draw the cumulative share of exposure over the catalogue, least shown items first."""
    figure, axes = canvas("share of the catalogue, least shown first", f"share of all places in the top {k}")
    shares = numbers(columns["share_of_items"])
    axes.plot([0, 1], [0, 1], color="#94a3b8", linewidth=1, linestyle=(0, (4, 3)), label="every item equally")
    shown = [name for name in dict.fromkeys([*COLOURS, *columns]) if present(columns.get(name, []))]
    shown.remove("share_of_items")
    for name in reversed(shown):  # the candidate on top
        width, alpha = (4.0, 0.6) if name == "candidate" else (1.8, 1.0)  # curves below stay visible
        axes.plot(
            shares, numbers(columns[name]), color=colour(name), linestyle=DASHES.get(name, OLDER[2]), label=name,
            linewidth=width, alpha=alpha,
        )  # fmt: skip
    axes.legend(loc="upper left", frameon=False, reverse=True, handlelength=3)
    return svg(figure, "lorenz", f"Lorenz curves of exposure in the top {k} of {', '.join(shown)}")


def canvas(x: str, y: str) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 3.5), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def svg(figure: Figure, name: str, label: str) -> str:
    """Return the figure as an <svg> without dates or random ids; `name` makes the ids of charts distinct, `label` is
    for screen readers."""
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    # groups have equal numbers in every chart, nothing refers to them, and a page must not repeat an id
    element = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def colour(name: str) -> str:
    return COLOURS.get(name, OLDER[0])


def numbers(cells: Sequence[str]) -> list[float]:
    return [float(cell) if cell else math.nan for cell in cells]


def present(cells: Sequence[Any]) -> bool:
    return any(cell != "" for cell in cells)
