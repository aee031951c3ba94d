"""Table of a verdict's rules: one list of columns for report.html, Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from models.gate.rule import figure, is_upper
from models.gate.rules import percent
from pipelines.privacy.markdown import cell

BAR = 25  # characters of a drawn interval
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """Column of the rules' table in the report, on the terminal and in Airflow's log."""

    heading: str
    text: Callable[[Record], str]
    below: Callable[[Record], str] = lambda rule: ""  # in smaller print; in Markdown in brackets
    picture: Callable[[Record], str] = lambda rule: ""  # HTML, between the two
    is_number: bool = False
    is_spare: bool = False  # left out on 80 columns

    @property
    def name(self) -> str:
        return self.heading.split()[0]


def markdown(rules: Sequence[Record], *, spare: bool = True) -> list[str]:
    """Return the table of rules, a line each; spare: with the columns that a narrow page can do without."""
    columns = [column for column in COLUMNS if spare or not column.is_spare]
    rows = [[markdown_cell(column, rule) for column in columns] for rule in rules]
    heads = [column.heading.replace("\n", " ") for column in columns]
    rulers = ["--:" if column.is_number else "---" for column in columns]
    return [f"| {' | '.join(heads)} |", f"|{'|'.join(rulers)}|", *(f"| {' | '.join(row)} |" for row in rows)]


def markdown_cell(column: Column, rule: Record) -> str:
    text, below = cell(column.text(rule)), cell(column.below(rule))
    return f"{text} ({below})" if below else text


def name(rule: Record) -> str:
    return str(rule["name"])


def value(rule: Record) -> str:
    return number(rule["value"])


def reference(rule: Record) -> str:
    return number(rule["reference_value"]) if rule["reference"] else ""


def reference_name(rule: Record) -> str:
    return rule["reference"] or ""


def decision(rule: Record) -> str:
    return words(rule["decision"])


def users(rule: Record) -> str:
    return f"{rule['n_users']:,}"


def gain(rule: Record) -> str:
    """Return the candidate's gain over the reference; empty for a rule without reference."""
    if rule["reference"] is None:
        return ""
    return f"{effect(rule, rule['effect'])} {share_of(rule) if rule['effect'] is not None else ''}".strip()


def interval(rule: Record) -> str:
    """Return both ends, or a dash without an interval."""
    if rule["interval"] is None:
        return "–"
    return " … ".join("no bound" if end is None else effect(rule, end) for end in rule["interval"])


def bounded(rule: Record) -> str:
    """Return the metric, its slice if there is one, and whether lower is better."""
    return figure(rule["metric"], rule["slice"]) + (", lower is better" if rule["better"] == "lower" else "")


def required(rule: Record) -> str:
    return f"{'≤' if is_upper(rule['bound']) else '≥'} {effect(rule, rule['threshold'])}"


def share_of(rule: Record) -> str:
    """Return the base of the rule's percentages."""
    return f"of {rule['reference']}" if rule["bound"].get("relative") else ""


def effect(rule: Record, value: float | None) -> str:
    """Return a number in the unit of the rule's effect: a share if the bound is relative."""
    if value is None:
        return "–"
    if rule["bound"].get("relative"):
        return f"{value:+.1%}"
    return f"{value:+.4f}" if rule["reference"] else number(value)


def number(value: float | None) -> str:
    """Return a number with four decimals, two from 10 on, or a dash."""
    if value is None:
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"


def words(decision: str) -> str:
    return decision.replace("_", " ")


def meaning(verdict: Record) -> str:
    """Return the definition of an interval."""
    return (
        f"from a lower to an upper bound, each of which holds with {percent(verdict['confidence'])} confidence, "
        "also if one more user could have lost, or gained, all there is"
    )


def to_decide(verdict: Record) -> str:
    """Return the users needed to resolve a HOLD, by rule; empty if it is decided, or more users would not help."""
    if verdict["verdict"] != "HOLD":
        return ""
    asked = [
        f"about {rule['users_needed']:,} for «{rule['name']}» ({rule['n_users']:,} now)"
        for rule in verdict["rules"]
        if rule["users_needed"] is not None
    ]
    return f"Users that would decide it, if their values are like these: {', '.join(asked)}." if asked else ""


def by_whom(control: Record) -> str:
    """Return a sentence with the rules that reject a control."""
    if control["discriminates"]:
        return "rejected by " + ", ".join(f"«{name}»" for name in control["rejected_by"])
    if control["undecided"]:
        return "not rejected with confidence: a rule of the kind it has to fail cannot tell on these users"
    return "NOT rejected by a rule of the kind it has to fail"


def known(rule: Record) -> list[float]:
    """Return the points of a drawn interval, without an unbounded end."""
    return [point for point in (*rule["interval"], rule["threshold"], rule["effect"]) if point is not None]


def drawn(rule: Record) -> str:
    """Return the interval as a line of characters, over a range that includes the bound."""
    if rule["interval"] is None or rule["effect"] is None:
        return "–"
    low, high = rule["interval"]
    points = known(rule)
    left, span = min(points), (max(points) - min(points)) or 1.0
    first, last = 2 * (low is None), BAR - 1 - 2 * (high is None)  # an arrow replaces an unbounded end

    def at(value: float) -> int:
        return first + round((value - left) / span * (last - first))

    line = [" "] * BAR
    start, end = 0 if low is None else at(low), BAR - 1 if high is None else at(high)
    line[start : end + 1] = "-" * (end + 1 - start)
    line[at(rule["effect"])] = "o"
    line[at(rule["threshold"])] = "|" if at(rule["threshold"]) != at(rule["effect"]) else "ø"
    if low is None:
        line[0] = "<"
    if high is None:
        line[-1] = ">"
    return "".join(line) + f"  {words(rule['decision'])}"


def bar(rule: Record, *, width: int = 190, height: int = 26) -> Markup:
    """Return an SVG of the interval against its bound, with the allowed side shaded."""
    if rule["interval"] is None or rule["effect"] is None:
        return Markup()
    low, high = rule["interval"]
    points = known(rule)
    margin = (max(points) - min(points)) * 0.12 or abs(points[0]) * 0.1 or 1.0
    left, span = min(points) - margin, max(points) - min(points) + 2 * margin

    def x(value: float) -> float:
        return round(float(value - left) / float(span) * width, 2)

    limit, middle = x(rule["threshold"]), height / 2
    start, end = 0 if low is None else x(low), width if high is None else x(high)
    allowed = (0.0, limit) if is_upper(rule["bound"]) else (limit, round(width - limit, 2))
    label = f"{interval(rule)}, {required(rule)} is required"
    return Markup(
        f'<svg class="{rule["decision"]}" width="{width}" height="{height}" role="img" aria-label="{label}">'
        f'<rect x="{allowed[0]}" y="2" width="{allowed[1]}" height="{height - 4}" rx="3" fill="var(--allowed)"/>'
        f'<line x1="{start}" x2="{end}" y1="{middle}" y2="{middle}" stroke="var(--tone)" stroke-width="5" '
        'stroke-linecap="round" opacity=".45"/>'
        f'<line x1="{limit}" x2="{limit}" y1="1" y2="{height - 1}" stroke="var(--ink)" stroke-width="1.5"/>'
        f'<circle cx="{x(rule["effect"])}" cy="{middle}" r="4.5" fill="var(--tone)"/></svg>'
    )


COLUMNS = (
    Column("rule", name, bounded),
    Column("value", value, is_number=True),
    Column("reference", reference, reference_name, is_number=True),
    Column("gain (+ is better)\nand interval", gain, interval, bar, is_number=True),
    Column("decision", decision, required),
    Column("users", users, is_number=True, is_spare=True),
)
