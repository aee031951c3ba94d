"""Counts of rules by outcome, and reasons, each of which a report gives once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.privacy.markdown import cell

Record = Mapping[str, Any]
Rules = Sequence[Record]
KINDS = {"fail": "Violated", "inconclusive": "Neither confirmed nor ruled out"}
LEFT_OUT = "not_applicable"


def headline(verdict: Record) -> str:
    """Return the verdict's reason without the reasons of single rules, which are beside the rules."""
    return re.split(r"(?<=\.) (?=«)", verdict["reason"])[0]


def applicable(rules: Rules) -> list[Record]:
    return [rule for rule in rules if rule["decision"] != LEFT_OUT]


def count(rules: Rules) -> str:
    """Return the number of rules that pass among those that apply, and of those that do not apply."""
    judged = applicable(rules)
    n, left_out = len(judged), len(rules) - len(judged)
    passed = sum(rule["decision"] == "pass" for rule in judged)
    return f"{passed} of {n} pass" + (f", {left_out} {verb(left_out, 'apply')}" if left_out else "")


def verb(n: int, name: str) -> str:
    return f"does not {name}" if n == 1 else f"do not {name}"


def left_out(rules: Rules) -> dict[str, list[str]]:
    """Return the names of rules that do not apply, by reason."""
    found: dict[str, list[str]] = {}
    for rule in rules:
        if rule["decision"] == LEFT_OUT:
            found.setdefault(rule["reason"], []).append(rule["name"])
    return found


def reasons(rules: Rules) -> list[str]:
    """Return the reason of each rule that does not pass, or the name of the rule before with the same; else ''."""
    first: dict[str, str] = {}
    found = []
    for rule in rules:
        told = first.setdefault(rule["reason"], rule["name"])
        text = rule["reason"] if told == rule["name"] else f"for the same reason as «{told}»"
        found.append("" if rule["decision"] == "pass" else text)
    return found


def open_rules(rules: Rules) -> dict[str, list[tuple[int, str]]]:
    """Return position among the applicable rules and name of those that do not pass, by kind of outcome."""
    listed = [(number, rule) for number, rule in enumerate(applicable(rules), start=1)]
    kinds = {
        title: [(number, rule["name"]) for number, rule in listed if rule["decision"] == decision]
        for decision, title in KINDS.items()
    }
    found = {title: named for title, named in kinds.items() if named}
    if len(found) == 1:  # the headline names the kind
        return {"Rules": next(iter(found.values()))}
    return found


def unfair(verdict: Record) -> str | None:
    """Return why the champion was not evaluated, unless the reason of a rule has it."""
    why: str | None = verdict["unfair_champion"]
    told = any(why in rule["reason"] for rule in verdict["rules"] if rule["decision"] != "pass") if why else True
    return None if told else why


def markdown(rules: Rules) -> list[str]:
    """Return a line per rule that does not pass, and per reason why rules do not apply."""
    judged = applicable(rules)
    told = [(rule, why) for rule, why in zip(judged, reasons(judged), strict=True) if why]
    return [
        *(f"- «{cell(rule['name'])}», {rule['decision']}: {cell(why)}" for rule, why in told),
        *(f"- not applicable, {cell(why)}: {listed(names)}" for why, names in left_out(rules).items()),
    ]


def listed(names: Sequence[str]) -> str:
    return ", ".join(f"«{cell(name)}»" for name in names)
