"""report.html: the verdict on one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from pipelines.gate.report import changes as report_changes
from pipelines.gate.report import charts as graphs
from pipelines.gate.report import data as report_data
from pipelines.gate.report import examples as report_examples
from pipelines.gate.report import heading, metrics, outcomes, rules, slices
from pipelines.gate.report.content import Content
from pipelines.gate.report.wording import split_words, tail_words
from pipelines.pages import templates

FOLDER = Path(__file__).parent
CONTENTS = {
    "changes": "What changed since the champion",
    "rules": "Rules",
    "data": "Data",
    "attempts": "Attempts on this holdout",
    "figures": "Where the models differ",
    "users": "Example users",
    "slices": "Slices",
    "metrics": "Metrics",
    "scope": "Scope of the verdict",
}
Curves = Mapping[str, Mapping[str, Sequence[str]]]


def write(path: Path, content: Content) -> None:
    """Write the page: one HTML file with inline style and SVG, no scripts, nothing loaded."""
    verdict = content.verdict
    page = environment().get_template("page.html").render(
        **of_rules(verdict["rules"]),
        contents=CONTENTS,
        css=Markup((FOLDER / "page.css").read_text("utf-8")),
        title=heading.title(content),
        judged_at=heading.judged_at(content),
        verdict=verdict,
        verdict_means=heading.MEANING[verdict["verdict"]],
        reason=outcomes.headline(verdict),
        asked=rules.to_decide(verdict),
        unfair=outcomes.unfair(verdict),
        facts=heading.facts(content),
        changes=report_changes.lines(content.changes, verdict),
        first=report_changes.FIRST,
        meaning=rules.meaning(verdict),
        controls={control["model"]: rules.by_whom(control) for control in verdict["controls"]},
        data=content.data,
        data_columns=report_data.INPUTS,
        data_warnings=report_data.WARNINGS,
        data_details=report_data.DETAILS,
        attempts=content.attempts,
        references=metrics.references(content.models),
        charts=charts(content.curves),
        examples=report_examples.for_page(content.examples),
        slice_notes={**slices.SAYS, "items": "Recall and deciles are those of the figure «Recall by popularity»."},
        slices=list(slices.for_page(content.curves["slices.csv"])),
        small_note=f"{slices.SMALL.capitalize()}. {slices.MARKED}",
        metrics=metrics.for_page(content.models),
        tail=tail_words(content.holdout),
        split=split_words(content.holdout, verdict),
    )  # fmt: skip
    path.write_text(page, "utf-8")


def environment() -> Environment:
    return templates.environment(FOLDER)


def of_rules(judged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the arguments of the template that are about rules."""
    shown = outcomes.applicable(judged)
    return {
        "rules": list(zip(shown, outcomes.reasons(shown), strict=True)),
        "columns": rules.COLUMNS,
        "left_out": outcomes.left_out(judged),
        "open_rules": outcomes.open_rules(judged),
    }


@dataclass(frozen=True)
class Chart:
    title: str
    caption: str
    svg: Markup
    note: str  # explanation of terms in the figure


def charts(curves: Curves) -> list[Chart]:
    k = next(int(name.partition("@")[2]) for name in curves["slices.csv"] if name.startswith("ndcg@"))
    return [
        Chart(
            "Accuracy and tail", "up and to the right is better", Markup(graphs.tradeoff(curves["tradeoff.csv"], k)),
            "Pareto front: no other model is better in both.",
        ),
        Chart(
            "Recall by popularity", "share of the test events on the items of a decile that lists hold",
            Markup(graphs.deciles(curves["deciles.csv"], k)),
            "A decile is a tenth of the catalogue; 10 has the items with the fewest interactions in train, or none.",
        ),
        Chart(
            "Re-ranking towards the tail", "on valid, the events before test, a point per strength",
            Markup(graphs.pareto(curves["pareto.csv"])), graphs.METHODS_SAY,
        ),
        Chart(
            "Who is shown", "Lorenz curve, nearer to the diagonal is fairer",
            Markup(graphs.lorenz(curves["exposure.csv"], k)),
            "Items left of the point where a curve rises above zero are shown to nobody.",
        ),
    ]  # fmt: skip
