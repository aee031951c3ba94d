"""report.html: the verdict on one page that needs nothing but itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from models.gate.rules import percent
from pipelines.artifacts import best_releases
from pipelines.gate.report import charts as graphs
from pipelines.gate.report import examples as report_examples
from pipelines.gate.report import metrics, slices, style
from pipelines.gate.report import rules as report_rules
from pipelines.gate.report.example_users import Example
from pipelines.gate.report.examples import Changes
from pipelines.gate.report.metrics import references
from pipelines.gate.report.rules import by_whom
from pipelines.gate.report.wording import split_words, tail_words

Record = Mapping[str, Any]
Models = Mapping[str, Mapping[str, float]]


def write(
    path: Path, verdict: Record, models: Models, holdout: Record, curves: Mapping[str, Mapping[str, Sequence[str]]], *,
    examples: Sequence[Example], changes: Changes | None, attempts: str,
) -> None:  # fmt: skip
    """Write the page: one HTML file with inline style and SVG, no scripts, nothing loaded. attempts: HTML."""
    sections = [
        banner(verdict),
        report_rules.html(verdict),
        controls(verdict),
        attempts,
        charts(curves, models),
        report_examples.html(examples),
        slices.html(curves["slices.csv"]),
        metrics.html(models),
        report_examples.changes_html(changes),
        lineage(verdict, holdout),
    ]
    path.write_text(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(verdict['verdict'])} – gate report</title>\n"
        f"<style>{style.CSS}</style>\n</head>\n<body>\n" + "\n".join(sections) + "\n</body>\n</html>\n",
        "utf-8",
    )


def banner(verdict: Record) -> str:
    facts = {
        "champion": verdict["champion"]["version"] or "none yet",
        **({"best release": best} if (best := best_releases.words(verdict["champion"])) else {}),
        "users judged": f"{verdict['n_users']:,}",
        "confidence, one-sided": percent(verdict["confidence"]),
        "correction of rejections": "Holm" if verdict["correction"] == "holm" else "none",
        "model": verdict["digests"]["model"][:12],
    }
    first, *rules = re.split(r"(?<=\.) (?=«)", verdict["reason"])  # a sentence about each rule that does not hold
    listed = f"<ul>{''.join(f'<li>{escape(sentence)}' for sentence in rules)}</ul>" if rules else ""
    asked = f"<p>{escape(sentence)}</p>" if (sentence := report_rules.to_decide(verdict)) else ""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return (
        f'<header class="verdict {escape(verdict["verdict"])}"><h1>{escape(verdict["verdict"])}</h1>'
        f'<p>{escape(first)}</p>{listed}{asked}{unfair(verdict)}<dl class="facts">{items}</dl></header>'
    )


def unfair(verdict: Record) -> str:
    """That the champion was left out, and why."""
    why = verdict["unfair_champion"]
    return f"<p>The champion was not compared with: {escape(why)}.</p>" if why else ""


def controls(verdict: Record) -> str:
    sentences = (f"{escape(control['model'])} is {escape(by_whom(control))}" for control in verdict["controls"])
    return (
        f"<p><strong>Controls.</strong> Judged by the same rules: {'; '.join(sentences)}. A policy that lets either of "
        "them pass could not tell a good model from a useless one.</p>"
    )


def charts(curves: Mapping[str, Mapping[str, Sequence[str]]], models: Models) -> str:
    """Four figures, each with a sentence below about the words in it."""
    k = next(int(name.partition("@")[2]) for name in curves["slices.csv"] if name.startswith("ndcg@"))
    drawn = [
        ("Accuracy and tail", "up and to the right is better", graphs.tradeoff(curves["tradeoff.csv"], k),
         "Pareto front: no other model is better in both."),
        ("Recall by popularity", "share of the test events on the items of a decile that lists hold",
         graphs.deciles(curves["deciles.csv"], k),
         "A decile is a tenth of the catalogue; 10 has the items that fewest touched in train, or nobody."),
        ("Re-ranking towards the tail", "on valid, the events before test, a point per strength",
         graphs.pareto(curves["pareto.csv"]), graphs.METHODS_SAY),
        ("Who is shown", "Lorenz curve, nearer to the diagonal is fairer", graphs.lorenz(curves["exposure.csv"], k),
         "Items left of where a curve leaves the ground are shown to nobody."),
    ]  # fmt: skip
    figures = "".join(
        f"<figure><figcaption>{title}<small>{below}</small></figcaption>{chart}<small>{says}</small></figure>"
        for title, below, chart, says in drawn
    )
    return f'<h2>Where the models differ</h2><p>{references(models)}</p><div class="charts">{figures}</div>'


def lineage(verdict: Record, holdout: Record) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape(digest)}</code></td></tr>"
        for name, digest in verdict["digests"].items()
    )
    return (
        f"<h2>What this verdict speaks of</h2><p>Tail: {escape(tail_words(holdout))}.</p>"
        f"<p>Split: {escape(split_words(holdout, verdict))}.</p>"
        f'<div class="wide"><table><thead><tr><th>sha256 of<th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
