"""report.html: the verdict on one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from models.metrics import REGISTRY
from models.rules import percent
from pipelines import _charts, _report_examples
from pipelines._examples import Example
from pipelines._report import bounded, effect, metric_names, number, required, slice_tables, tail_words, words
from pipelines._report_examples import Changes

Record = Mapping[str, Any]
Models = Mapping[str, Mapping[str, float]]

CSS = """
:root { --ink: #0f172a; --soft: #475569; --line: #e2e8f0; --pass: #15803d; --fail: #b91c1c; --open: #b45309; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink); background: #fff;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 2.1rem; letter-spacing: .01em; }
h2 { margin: 2.6rem 0 .8rem; font-size: 1.15rem; }
p { margin: .3rem 0; max-width: 46rem; }
.verdict { border-left: 6px solid var(--tone); padding: 1rem 1.4rem 1.1rem; border-radius: 0 10px 10px 0;
  background: color-mix(in srgb, var(--tone) 7%, white); }
.verdict h1 { color: var(--tone); }
.verdict p { font-size: 1.08rem; }
.PROMOTE, .pass { --tone: var(--pass); } .REJECT, .fail { --tone: var(--fail); }
.HOLD, .inconclusive { --tone: var(--open); } .not_applicable { --tone: #94a3b8; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; margin: 1.1rem 0 0; }
.facts div { min-width: 6rem; }
.facts dt { color: var(--soft); font-size: .8rem; } .facts dd { margin: 0; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: .8rem; }
th, td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
td svg { display: block; }
tr.group th { padding-top: 1.1rem; color: var(--ink); }
td.n, th.n { text-align: right; white-space: nowrap; }
td small { display: block; color: var(--soft); }
.dense td { padding-block: .2rem; } .dense small { display: inline; margin-left: .6rem; }
tr.small td { color: var(--soft); opacity: .75; }
.badge { display: inline-block; padding: .08rem .6rem; border-radius: 99px; color: #fff; background: var(--tone);
  font-size: .8rem; font-weight: 600; white-space: nowrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1.6rem 2.2rem; }
figure { margin: 0; break-inside: avoid; } figure svg { width: 100%; height: auto; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
figcaption small { display: block; font-weight: 400; color: var(--soft); }
code { font: .84rem ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.note { color: var(--soft); font-size: .9rem; }
@media print { :root { font-size: 12px; } body { padding: 0; max-width: none; font-size: 11px; }
  h2 { break-after: avoid; } tr { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def write(
    path: Path, verdict: Record, models: Models, holdout: Record, curves: Mapping[str, Mapping[str, Sequence[str]]], *,
    examples: Sequence[Example], changes: Changes | None,
) -> None:  # fmt: skip
    """Write the page: one HTML file with inline style and SVG, no scripts, nothing loaded."""
    sections = [
        banner(verdict),
        rules(verdict),
        controls(verdict),
        charts(curves),
        _report_examples.html(examples),
        slices(curves["slices.csv"]),
        metrics(models),
        _report_examples.changes_html(changes),
        lineage(verdict, holdout),
    ]
    style = CSS + _report_examples.CSS
    path.write_text(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(verdict['verdict'])} – gate report</title>\n<style>{style}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n",
        "utf-8",
    )


def banner(verdict: Record) -> str:
    facts = {
        "champion": verdict["champion"]["version"] or "none yet",
        "users judged": f"{verdict['n_users']:,}",
        "confidence, one-sided": percent(verdict["confidence"]),
        "bootstrap resamples": f"{verdict['resamples']:,}",
        "correction of rejections": "Holm" if verdict["correction"] == "holm" else "none",
        "model": verdict["digests"]["model"][:12],
    }
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return (
        f'<header class="verdict {escape(verdict["verdict"])}"><h1>{escape(verdict["verdict"])}</h1>'
        f'<p>{escape(verdict["reason"])}</p>{unfair(verdict)}<dl class="facts">{items}</dl></header>'
    )


def unfair(verdict: Record) -> str:
    """That the champion was left out, and why."""
    why = verdict["unfair_champion"]
    return f"<p>The champion was not compared with: {escape(why)}.</p>" if why else ""


def rules(verdict: Record) -> str:
    head = (
        '<tr><th>rule<th class="n">value<th class="n">reference<th class="n">effect<th>interval and bound'
        '<th class="n">required<th>decision</tr>'
    )
    body = "".join(
        f"<tr><td>{escape(rule['name'])}<small>{escape(bounded(rule))}</small></td>"
        f'<td class="n">{number(rule["value"])}</td>'
        f'<td class="n">{number(rule["reference_value"]) if rule["reference"] else ""}'
        f"<small>{escape(rule['reference'] or '')}</small></td>"
        f'<td class="n">{effect(rule, rule["effect"])}</td><td>{interval(rule)}</td><td class="n">{required(rule)}</td>'
        f"<td>{badge(rule)}</td></tr>"
        for rule in verdict["rules"]
    )
    return (
        f'<h2>Rules</h2><div class="wide"><table>{head}{body}</table></div>'
        '<p class="note">A dot is the measured effect, the bar its interval by paired bootstrap over users, the dark '
        "line the bound. A bar wholly on the green side passes, wholly outside fails, across is inconclusive.</p>"
    )


def badge(rule: Record) -> str:
    reason = escape(rule["reason"])
    return f'<span class="badge {rule["decision"]}" title="{reason}">{words(rule["decision"])}</span>'


def interval(rule: Record, *, width: int = 190, height: int = 26) -> str:
    """The interval against its bound; the allowed side is shaded."""
    if rule["interval"] is None or rule["effect"] is None:
        return "–"
    low, high = rule["interval"]
    points = [low, high, rule["threshold"], rule["effect"]]
    margin = (max(points) - min(points)) * 0.12 or abs(points[0]) * 0.1 or 1.0
    left, span = min(points) - margin, max(points) - min(points) + 2 * margin

    def x(value: float) -> float:
        return round(float(value - left) / float(span) * width, 2)

    bound, middle = x(rule["threshold"]), height / 2
    allowed = (0.0, bound) if "max" in rule["bound"] else (bound, round(width - bound, 2))
    label = f"{effect(rule, low)} to {effect(rule, high)}"
    return (
        f'<svg class="{rule["decision"]}" width="{width}" height="{height}" role="img" aria-label="{label}">'
        f"<title>{label}</title>"
        f'<rect x="{allowed[0]}" y="2" width="{allowed[1]}" height="{height - 4}" rx="3" fill="#ecfdf3"/>'
        f'<line x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}" stroke="var(--tone)" stroke-width="5" '
        'stroke-linecap="round" opacity=".45"/>'
        f'<line x1="{bound}" x2="{bound}" y1="1" y2="{height - 1}" stroke="#0f172a" stroke-width="1.5"/>'
        f'<circle cx="{x(rule["effect"])}" cy="{middle}" r="4.5" fill="var(--tone)"/></svg>'
    )


def controls(verdict: Record) -> str:
    sentences = [
        f"{escape(control['model'])} is rejected by {', '.join(escape(name) for name in control['rejected_by'])}"
        if control["discriminates"]
        else f"<strong>{escape(control['model'])} is not rejected</strong>"
        for control in verdict["controls"]
    ]
    return (
        f"<p><strong>Controls.</strong> Judged by the same rules: {'; '.join(sentences)}. A policy that lets either of "
        "them pass could not tell a good model from a useless one.</p>"
    )


def charts(curves: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    drawn = [
        ("Accuracy and tail", "up and to the right is better", _charts.tradeoff(curves["tradeoff.csv"])),
        ("Recall by popularity", "of the test events on items of each decile", _charts.deciles(curves["deciles.csv"])),
        ("Re-ranking towards the tail", "on valid, a point per strength", _charts.pareto(curves["pareto.csv"])),
        ("Who is shown", "Lorenz curve, nearer to the diagonal is fairer", _charts.lorenz(curves["exposure.csv"])),
    ]
    figures = "".join(f"<figure><figcaption>{a}<small>{b}</small></figcaption>{c}</figure>" for a, b, c in drawn)
    return f'<h2>Where the models differ</h2><div class="charts">{figures}</div>'


def slices(table: Mapping[str, Sequence[str]]) -> str:
    """A table for slices of users and one for those of items; small ones are pale and say so."""
    blocks = ""
    for of, metric, found in slice_tables(table):
        models = list(found[0]["values"]) if found else []
        head = f'<tr><th>{metric}<th class="n">{of}<th class="n">test events' + "".join(
            f'<th class="n">{escape(name)}' for name in models
        )
        rows = "".join(
            f"<tr{' class=small' if each['small'] else ''}><td>{escape(each['name'])}"
            f"{'<small>small</small>' if each['small'] else ''}</td>"
            f'<td class="n">{each["n"]:,}</td><td class="n">{each["n_events"]:,}</td>'
            + "".join(f'<td class="n">{number(value)}</td>' for value in each["values"].values())
            + "</tr>"
            for each in found
        )
        blocks += f'<div class="wide"><table class="dense">{head}</tr>{rows}</table></div>'
    return (
        f'<h2>Slices</h2>{blocks}<p class="note">Of users: what the lists of these users achieve. Of items: the share '
        "of test events on these items that lists hold. A small slice rests on so few users or events that its figures "
        "are mostly chance.</p>"
    )


def metrics(models: Models) -> str:
    """A row per metric, the models side by side at each k."""
    names = metric_names(models)
    ks = sorted({int(name.partition("@")[2]) for name in names})
    top = "<tr><th>" + "".join(f'<th class="n" colspan="{len(ks)}">{escape(name)}' for name in models) + "</tr>"
    below = "<tr><th>" + "".join(f'<th class="n">@{k}' for _ in models for k in ks) + "</tr>"
    rows = ""
    for kind, title in (("accuracy", "Accuracy"), ("tail", "Tail and exposure")):
        rows += f'<tr class="group"><th colspan="{1 + len(models) * len(ks)}">{title}</tr>'
        for base in dict.fromkeys(name.partition("@")[0] for name in names):
            if REGISTRY[base].kind == kind:
                better = "" if REGISTRY[base].higher_is_better else "<small>lower is better</small>"
                cells = (number(values.get(f"{base}@{k}")) for values in models.values() for k in ks)
                rows += f"<tr><td>{base}{better}" + "".join(f'<td class="n">{c}' for c in cells)
    return f'<h2>Metrics</h2><div class="wide"><table class="dense">{top}{below}{rows}</table></div>'


def lineage(verdict: Record, holdout: Record) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape(digest)}</code></td></tr>"
        for name, digest in verdict["digests"].items()
    )
    return (
        f"<h2>What this verdict speaks of</h2><p>Tail: {escape(tail_words(holdout))}. Split by "
        f"{escape(str(holdout['strategy']))}: {holdout['n_train']:,} train, {holdout['n_valid']:,} valid and "
        f"{holdout['n_test']:,} test events of {holdout['n_users']:,} users.</p>"
        f'<div class="wide"><table><tr><th>sha256 of<th></tr>{rows}</table></div>'
    )
