"""A verdict in words and tables: for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.metrics import REGISTRY
from models.rules import percent

COLOURS = {"PROMOTE": "green", "HOLD": "yellow", "REJECT": "red"}
DECISION_COLOURS = {"pass": "green", "inconclusive": "yellow", "fail": "red", "not_applicable": "dim"}
BAR = 25  # characters of a drawn interval

Record = Mapping[str, Any]


def print_verdict(verdict: Record, console: Console | None = None) -> None:
    """Print a verdict.json as a table, two lines per rule so that it fits 80 columns, and one sentence."""
    console = console or Console()
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("rule")
    for name in ("value", "reference", "effect, interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("decision", no_wrap=True)
    for rule in verdict["rules"]:
        name, metric, value, reference, measured, between, bound = (escape(cell) for cell in row(rule))
        colour = DECISION_COLOURS[rule["decision"]]
        table.add_row(
            f"{name}\n[dim]{metric}[/]",
            value,
            reference.replace(" ", "\n"),
            f"{measured}\n[dim]{between}[/]",
            f"[{colour}]{words(rule['decision'])}[/]\n[dim]{bound}[/]",
        )
    console.print(table)
    console.print(f"[bold {COLOURS[verdict['verdict']]}]{verdict['verdict']}[/]  {escape(verdict['reason'])}")


def row(rule: Record) -> list[str]:
    """Name, metric, value, reference, effect, interval and bound of a rule, as text."""
    reference = f"{number(rule['reference_value'])} {rule['reference']}" if rule["reference"] else ""
    return [
        rule["name"],
        bounded(rule),
        number(rule["value"]),
        reference,
        effect(rule, rule["effect"]),
        interval(rule),
        required(rule),
    ]


def interval(rule: Record) -> str:
    return "–" if rule["interval"] is None else " … ".join(effect(rule, bound) for bound in rule["interval"])


def bounded(rule: Record) -> str:
    """The metric, and of whom where it is not everybody."""
    return f"{rule['metric']} of {rule['slice']}" if rule["slice"] else str(rule["metric"])


def required(rule: Record) -> str:
    return f"{'≤' if 'max' in rule['bound'] else '≥'} {effect(rule, rule['threshold'])}"


def effect(rule: Record, value: float | None) -> str:
    """A number in the unit of the rule's effect: a share where the bound is relative."""
    if value is None:
        return "–"
    if rule["bound"].get("relative"):
        return f"{value:+.1%}"
    return f"{value:+.4f}" if rule["reference"] else number(value)


def number(value: float | None) -> str:
    """Four decimals, two from 10 on, or a dash."""
    if value is None:
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"


def words(decision: str) -> str:
    return decision.replace("_", " ")


def markdown(
    verdict: Record, models: Mapping[str, Mapping[str, float]], holdout: Record, slices: Mapping[str, Sequence[str]], *,
    more: Sequence[str],
) -> str:  # fmt: skip
    """The report for terminals and pull requests, `more` being further lines of it."""
    champion = verdict["champion"]["version"] or "none yet"
    lines = [
        f"# {verdict['verdict']}",
        "",
        verdict["reason"],
        "",
        *(
            [f"The champion was not compared with: {verdict['unfair_champion']}.", ""]
            * bool(verdict["unfair_champion"])
        ),
        f"{verdict['n_users']:,} users, champion: {champion}, {percent(verdict['confidence'])} confidence one-sided"
        f"{corrected(verdict)}, {verdict['resamples']:,} resamples.",
        "",
        "| rule | metric | value | reference | effect | interval | required | decision |",
        "|---|---|--:|--:|--:|--:|--:|---|",
        *(
            f"| {' | '.join(cell(text) for text in [*row(rule), words(rule['decision'])])} |"
            for rule in verdict["rules"]
        ),
        "",
        "Intervals of the effect; `|` is what is required, `o` the estimate:",
        "",
        *code([f"{rule['name'][:24]:<24} {drawn(rule)}" for rule in verdict["rules"]]),
        "",
        "Controls, which this policy must reject:",
        "",
        *(f"- {control['model']}: {by_whom(control)}" for control in verdict["controls"]),
        "",
        "## Metrics",
        "",
        f"| metric | {' | '.join(models)} |",
        f"|---|{'--:|' * len(models)}",
        *(f"| {name} | {' | '.join(number(m.get(name)) for m in models.values())} |" for name in metric_names(models)),
        "",
        "## Slices",
        "",
        *markdown_slices(slices),
        *more,
        "## What it speaks of",
        "",
        f"- tail: {tail_words(holdout)}",
        *(f"- {name}: `{digest}`" for name, digest in verdict["digests"].items()),
        "",
    ]
    return "\n".join(lines)


def corrected(verdict: Record) -> str:
    return " per rule, Holm's correction for rejections" if verdict["correction"] == "holm" else ""


def markdown_slices(table: Mapping[str, Sequence[str]]) -> list[str]:
    """A table of users' slices and one of items', the models side by side."""
    lines = []
    for of, metric, found in slice_tables(table):
        models = list(found[0]["values"]) if found else []
        lines += [
            f"{metric} for slices of {of}; * marks a small one, whose figures are mostly chance:",
            "",
            f"| slice | {of} | test events | {' | '.join(models)} |",
            f"|---|--:|--:|{'--:|' * len(models)}",
            *(
                f"| {cell(each['name'])}{' *' if each['small'] else ''} | {each['n']:,} | {each['n_events']:,} | "
                f"{' | '.join(number(value) for value in each['values'].values())} |"
                for each in found
            ),
            "",
        ]
    return lines


def slice_tables(table: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """("users" or "items", what is shown of them, the slices with their values by model) from slices.csv."""
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    for of, base in (("users", "ndcg"), ("items", "recall")):
        (metric,) = (name for name in table if name.partition("@")[0] == base)
        found: dict[str, dict[str, Any]] = {}
        for row in (row for row in rows if row["of"] == of):
            name = f"{row['slicing']} {row['slice'].removeprefix('0') or '0'}"
            entry = {
                "name": name,
                "n": int(row["n"]),
                "n_events": int(row["n_events"]),
                "small": row["small"] == "True",
            }
            values = found.setdefault(name, entry | {"values": {}})["values"]
            values[row["model"]] = float(row[metric]) if row[metric] else None
        yield of, metric, list(found.values())


def cell(text: str) -> str:
    """Text that cannot break a Markdown table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def code(lines: list[str]) -> list[str]:
    return [f"    {' '.join(line.splitlines())}" for line in lines]


def drawn(rule: Record) -> str:
    """The interval as a line of characters, over a range that holds the bound as well."""
    if rule["interval"] is None or rule["effect"] is None:
        return "–"
    low, high = rule["interval"]
    points = [low, high, rule["threshold"], rule["effect"]]
    left, span = min(points), (max(points) - min(points)) or 1.0
    at = {name: round((value - left) / span * (BAR - 1)) for name, value in zip("lhte", points, strict=True)}
    line = ["-" if at["l"] <= i <= at["h"] else " " for i in range(BAR)]
    line[at["e"]] = "o"
    line[at["t"]] = "|" if at["t"] != at["e"] else "ø"
    return "".join(line) + f"  {words(rule['decision'])}"


def by_whom(control: Record) -> str:
    if control["discriminates"]:
        return "rejected by " + ", ".join(cell(name) for name in control["rejected_by"])
    return "NOT rejected by a rule of the kind it has to fail"


def metric_names(models: Mapping[str, Mapping[str, float]]) -> list[str]:
    """All metrics that some model has, in the order of the registry."""
    order = {name: place for place, name in enumerate(REGISTRY)}

    def place(name: str) -> tuple[int, int]:
        base, _, k = name.partition("@")
        return order.get(base, len(order)), int(k or 0)

    return sorted({name for values in models.values() for name in values}, key=place)


def tail_words(holdout: Record) -> str:
    """How the tail was defined for this holdout."""
    return (
        f"{holdout['n_tail']:,} of {holdout['n_items']:,} items, all but the most popular ones that together hold "
        f"{holdout['head_share']:.0%} of the train interactions; {holdout['n_cold']:,} of them have none"
    )
