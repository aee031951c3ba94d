"""The rules of a verdict as cells, drawn intervals and an HTML table."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from models.gate.rules import percent

BAR = 25  # characters of a drawn interval
Record = Mapping[str, Any]


def row(rule: Record) -> list[str]:
    """Name, metric, users, value, reference, gain, interval, bound and decision of a rule, as text."""
    reference = f"{number(rule['reference_value'])} {rule['reference']}" if rule["reference"] else ""
    return [
        rule["name"],
        bounded(rule),
        f"{rule['n_users']:,}",
        number(rule["value"]),
        reference,
        gain(rule),
        interval(rule),
        f"{required(rule)} {share_of(rule)}".strip(),
        words(rule["decision"]),
    ]


def gain(rule: Record) -> str:
    """How much better than the reference the candidate is; nothing where the rule names none."""
    if rule["reference"] is None:
        return ""
    return f"{effect(rule, rule['effect'])} {share_of(rule) if rule['effect'] is not None else ''}".strip()


def interval(rule: Record) -> str:
    """Both ends, or a dash where there is no interval."""
    if rule["interval"] is None:
        return "–"
    return " … ".join("no bound" if end is None else effect(rule, end) for end in rule["interval"])


def bounded(rule: Record) -> str:
    """The metric, of whom where it is not everybody, and whether less of it is better."""
    metric = f"{rule['metric']} of {rule['slice']}" if rule["slice"] else str(rule["metric"])
    return metric + (", lower is better" if rule["better"] == "lower" else "")


def required(rule: Record) -> str:
    return f"{'≤' if 'max' in rule['bound'] else '≥'} {effect(rule, rule['threshold'])}"


def share_of(rule: Record) -> str:
    """Of what the rule's percentages are shares."""
    return f"of {rule['reference']}" if rule["bound"].get("relative") else ""


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


def meaning(verdict: Record) -> str:
    """What an interval is."""
    return (
        f"from a lower to an upper bound, each of which holds with {percent(verdict['confidence'])} confidence, "
        "also if one more user could have lost, or gained, all there is"
    )


def to_decide(verdict: Record) -> str:
    """Users that a HOLD asks for, by rule; empty where it is decided, or more users would not decide it."""
    if verdict["verdict"] != "HOLD":
        return ""
    asked = [
        f"about {rule['users_needed']:,} for «{rule['name']}» ({rule['n_users']:,} now)"
        for rule in verdict["rules"]
        if rule["users_needed"] is not None
    ]
    return f"Users that would decide it, if their values are like these: {', '.join(asked)}." if asked else ""


def by_whom(control: Record) -> str:
    """Rules that reject a control."""
    if control["discriminates"]:
        return "rejected by " + ", ".join(f"«{name}»" for name in control["rejected_by"])
    if control["undecided"]:
        return "not rejected with confidence: a rule of the kind it has to fail cannot tell on these users"
    return "NOT rejected by a rule of the kind it has to fail"


def known(rule: Record) -> list[float]:
    """Points of a drawn interval, without an end that has no bound."""
    return [point for point in (*rule["interval"], rule["threshold"], rule["effect"]) if point is not None]


def drawn(rule: Record) -> str:
    """The interval as a line of characters, over a range that holds the bound as well."""
    if rule["interval"] is None or rule["effect"] is None:
        return "–"
    low, high = rule["interval"]
    points = known(rule)
    left, span = min(points), (max(points) - min(points)) or 1.0
    first, last = 2 * (low is None), BAR - 1 - 2 * (high is None)  # an arrow takes the place of an end without bound

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


def html(verdict: Record) -> str:
    """A row per rule, its decision first, with the reason below where it did not pass."""
    head = (
        '<thead><tr><th>rule<th>decision<th class="n">value<th class="n">reference<th class="n">gain (+ is better)'
        '<th>interval and bound<th class="n">required<th class="n">users</tr></thead>'
    )
    return (
        f'<h2>Rules</h2><table class="rules">{head}{"".join(body(rule) for rule in verdict["rules"])}</table>'
        f'<p class="note">A dot is the measured gain over the reference (the value itself where a rule names none), '
        f"the bar its interval {meaning(verdict)}; the dark line is the bound. A bar wholly on the green side passes, "
        "wholly outside fails, across is inconclusive. Users are those who have a value of this metric.</p>"
    )


def body(rule: Record) -> str:
    """The rows of a rule, together on a page."""
    reference = number(rule["reference_value"]) if rule["reference"] else ""
    gained = effect(rule, rule["effect"]) if rule["reference"] else ""
    of = f"<small>{share_of(rule)}</small>"
    why = f'<tr class="why"><td colspan="8">{escape(rule["reason"])}</td></tr>' if rule["decision"] != "pass" else ""
    return (
        f"<tbody><tr><td>{escape(rule['name'])}<small>{escape(bounded(rule))}</small></td>"
        f'<td><span class="badge {rule["decision"]}">{words(rule["decision"])}</span></td>'
        f'<td class="n" data-is="value">{number(rule["value"])}</td>'
        f'<td class="n" data-is="reference">{reference}<small>{escape(rule["reference"] or "")}</small></td>'
        f'<td class="n" data-is="gain (+ is better)">{gained}{of if rule["effect"] is not None else ""}</td>'
        f'<td class="bar">{bar(rule)}</td><td class="n" data-is="required">{required(rule)}{of}</td>'
        f'<td class="n" data-is="users">{rule["n_users"]:,}</td></tr>{why}</tbody>'
    )


def bar(rule: Record, *, width: int = 190, height: int = 26) -> str:
    """The interval against its bound, the allowed side shaded, its ends below."""
    if rule["interval"] is None or rule["effect"] is None:
        return ""
    low, high = rule["interval"]
    points = known(rule)
    margin = (max(points) - min(points)) * 0.12 or abs(points[0]) * 0.1 or 1.0
    left, span = min(points) - margin, max(points) - min(points) + 2 * margin

    def x(value: float) -> float:
        return round(float(value - left) / float(span) * width, 2)

    bound, middle = x(rule["threshold"]), height / 2
    start, end = 0 if low is None else x(low), width if high is None else x(high)
    allowed = (0.0, bound) if "max" in rule["bound"] else (bound, round(width - bound, 2))
    label = f"{interval(rule)}, {required(rule)} is required"
    return (
        f'<svg class="{rule["decision"]}" width="{width}" height="{height}" role="img" aria-label="{label}">'
        f'<rect x="{allowed[0]}" y="2" width="{allowed[1]}" height="{height - 4}" rx="3" fill="#dcfce7"/>'
        f'<line x1="{start}" x2="{end}" y1="{middle}" y2="{middle}" stroke="var(--tone)" stroke-width="5" '
        'stroke-linecap="round" opacity=".45"/>'
        f'<line x1="{bound}" x2="{bound}" y1="1" y2="{height - 1}" stroke="#0f172a" stroke-width="1.5"/>'
        f'<circle cx="{x(rule["effect"])}" cy="{middle}" r="4.5" fill="var(--tone)"/></svg>'
        f"<small>{interval(rule)}</small>"
    )
