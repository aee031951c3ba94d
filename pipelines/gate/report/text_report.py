"""Verdict as text and tables: for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from models.gate.rules import percent
from pipelines.artifacts import best_releases
from pipelines.gate.report import attempts, changes, data, examples, heading, metrics, outcomes, rules
from pipelines.gate.report import slices as report_slices
from pipelines.gate.report.content import Content
from pipelines.gate.report.rules import by_whom, drawn, meaning, to_decide
from pipelines.gate.report.wording import split_words, tail_words
from pipelines.privacy.markdown import cell, code
from pipelines.privacy.shown import markup

COLOURS = {"PROMOTE": "green", "HOLD": "yellow", "REJECT": "red"}
DECISION_COLOURS = {"pass": "green", "inconclusive": "yellow", "fail": "red", "not_applicable": "dim"}

Record = Mapping[str, Any]


def print_verdict(verdict: Record, console: Console | None = None) -> None:
    """Print a verdict.json as a table, two lines per rule so that it fits 80 columns, and its reason."""
    console = console or Console()
    columns = [column for column in rules.COLUMNS if not column.is_spare]
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        wraps = column.name == "rule"
        table.add_column(column.heading, justify="right" if column.is_number else "left", no_wrap=not wraps)
    for rule in verdict["rules"]:
        table.add_row(*(terminal_cell(column, rule) for column in columns))
    console.print(table)
    console.print(f"[bold {COLOURS[verdict['verdict']]}]{verdict['verdict']}[/]  {markup(verdict['reason'])}")
    if asked := to_decide(verdict):
        console.print(markup(asked))


def terminal_cell(column: rules.Column, rule: Record) -> str:
    """Return two lines in rich's markup: the text, and the smaller text below it."""
    text, below = markup(column.text(rule)), markup(column.below(rule))
    if column.name == "decision":
        text = f"[{DECISION_COLOURS[rule['decision']]}]{text}[/]"
    return f"{text}\n[dim]{below}[/]" if below else text


def markdown(content: Content) -> str:
    """Return the report for terminals and pull requests."""
    verdict, unfair = content.verdict, outcomes.unfair(content.verdict)
    champion = verdict["champion"]["version"] or "none yet"
    if which := best_releases.words(verdict["champion"]):
        champion += f", best release: {cell(which)}"
    lines = [
        f"# {verdict['verdict']}",
        "",
        cell(outcomes.headline(verdict)),
        "",
        heading.MEANING[verdict["verdict"]],
        "",
        *([cell(asked), ""] if (asked := to_decide(verdict)) else []),
        *([f"The champion was not compared with: {cell(unfair)}.", ""] if unfair else []),
        f"- judged: {heading.judged_at(content)}",
        f"- candidate: model `{heading.candidate(content)}`",
        f"- data: {cell(content.data.source)}",
        f"- rules: {outcomes.count(verdict['rules'])}",
        "",
        f"{verdict['n_users']:,} users, champion: {champion}, {percent(verdict['confidence'])} confidence one-sided"
        f"{corrected(verdict)}.",
        "",
        *changes.markdown(content.changes, verdict),
        "## Rules",
        "",
        *rules.markdown(verdict["rules"]),
        "",
        *outcomes.markdown(verdict["rules"]),
        "",
        f"Intervals are {meaning(verdict)}; `|` is what is required, `o` the estimate, `<` or `>` no bound:",
        "",
        *code([f"{rule['name'][:24]:<24} {drawn(rule)}" for rule in outcomes.applicable(verdict["rules"])]),
        "",
        "Controls, which this policy must reject:",
        "",
        *(f"- {control['model']}: {cell(by_whom(control))}" for control in verdict["controls"]),
        "",
        *data.markdown(content.data),
        *attempts.markdown(content.attempts),
        *metrics.markdown(content.models),
        *report_slices.markdown(content.curves["slices.csv"]),
        *examples.markdown(content.examples),
        "## Scope of the verdict",
        "",
        f"- tail: {tail_words(content.holdout)}",
        f"- split: {split_words(content.holdout, verdict)}",
        *(f"- {name}: `{digest}`" for name, digest in verdict["digests"].items()),
        "",
    ]
    return "\n".join(lines)


def corrected(verdict: Record) -> str:
    return " per rule, Holm's correction for rejections" if verdict["correction"] == "holm" else ""
