"""report.html: the verdict on one self-contained page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from models.gate.rules import percent
from pipelines.artifacts import best_releases
from pipelines.gate.report import charts as graphs
from pipelines.gate.report import examples as report_examples
from pipelines.gate.report import metrics, rules, slices
from pipelines.gate.report.attempts import Section
from pipelines.gate.report.example_users import Example
from pipelines.gate.report.examples import Changes
from pipelines.gate.report.wording import split_words, tail_words

FOLDER = Path(__file__).parent
Record = Mapping[str, Any]
Models = Mapping[str, Mapping[str, float]]
Curves = Mapping[str, Mapping[str, Sequence[str]]]


def write(
    path: Path, verdict: Record, models: Models, holdout: Record, curves: Curves, *,
    examples: Sequence[Example], changes: Changes | None, attempts: Section,
) -> None:  # fmt: skip
    """Write the page: one HTML file with inline style and SVG, no scripts, nothing loaded."""
    page = environment().get_template("page.html").render(
        css=Markup((FOLDER / "page.css").read_text("utf-8")),
        verdict=verdict,
        reason=re.split(r"(?<=\.) (?=«)", verdict["reason"]),  # a sentence per rule that does not hold
        asked=rules.to_decide(verdict),
        facts=facts(verdict),
        columns=rules.COLUMNS,
        meaning=rules.meaning(verdict),
        controls={control["model"]: rules.by_whom(control) for control in verdict["controls"]},
        attempts=attempts,
        references=metrics.references(models),
        charts=charts(curves),
        examples=report_examples.for_page(examples),
        slice_notes=slices.SAYS,
        slices=list(slices.for_page(curves["slices.csv"])),
        small_note=f"{slices.SMALL.capitalize()}.",
        metrics=metrics.for_page(models),
        changes=changes,
        tail=tail_words(holdout),
        split=split_words(holdout, verdict),
    )  # fmt: skip
    path.write_text(page, "utf-8")


@cache
def environment() -> Environment:
    """Return templates that escape every text, and raise an error for an undefined name."""
    return Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )


def facts(verdict: Record) -> dict[str, str]:
    return {
        "champion": verdict["champion"]["version"] or "none yet",
        **({"best release": best} if (best := best_releases.words(verdict["champion"])) else {}),
        "users judged": f"{verdict['n_users']:,}",
        "confidence, one-sided": percent(verdict["confidence"]),
        "correction of rejections": "Holm" if verdict["correction"] == "holm" else "none",
        "model": verdict["digests"]["model"][:12],
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
