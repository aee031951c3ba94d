"""verdict.json as a document: the policy it was given by, and whether it says what its numbers say.

Its schema is `pipelines/verdict.schema.json`. Nobody has to forge a verdict for it to be wrong: a rule that was removed
by hand, or a NaN where a number should be, is refused as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.policy import CANDIDATE, CHAMPION, CONTROLS, Procedure
from models.rules import ROUNDING, Rule
from pipelines import _artifacts as artifacts
from pipelines._artifacts import DATA
from pipelines._params import Gate

PATH = DATA / "gate" / "verdict.json"
SCHEMA_VERSION = 1  # raised where a reader of older verdicts would misread newer ones
SHORT = 12  # characters of a digest that people compare
Record = Mapping[str, Any]


def policy_of(params: Gate) -> tuple[list[Rule], Procedure]:
    """The section of params.yaml as what decides."""
    settings = params.model_dump()
    rules = [Rule(**rule) for rule in settings.pop("rules")]
    return rules, Procedure(**settings)


def check(verdict: Record, params: Gate) -> None:
    """Raise ValueError where a PROMOTE is not one by its own numbers, or not by the policy of params.yaml."""
    rules, how = policy_of(params)
    expected = {rule.name: (rule.metric, rule.slice, rule.reference, rule.bound()) for rule in rules}
    found = {r["name"]: (r["metric"], r["slice"], r["reference"], r["bound"]) for r in verdict["rules"]}
    if other := sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name)):
        raise refused(f"its rules are not those of gate.rules: {', '.join(map(repr, other))} missing, added or changed")
    if other := [name for name, value in asdict(how).items() if verdict.get(name) != value]:
        raise refused(f"{' and '.join(other)} of the policy were others when it was given")
    if wrong := [rule["name"] for rule in verdict["rules"] if not holds(rule)]:
        raise refused(f"its numbers do not show that rule {wrong[0]!r} holds")
    if all(rule["decision"] == "not_applicable" for rule in verdict["rules"]):
        raise refused("no rule was applied")
    if {control["model"] for control in verdict["controls"] if control["discriminates"]} != CONTROLS.keys():
        raise refused(f"it does not show that {' and '.join(CONTROLS)} were rejected")


def holds(rule: Record) -> bool:
    """Whether a rule passed, on numbers that say so, or had nothing to compare with."""
    if rule["decision"] == "not_applicable":
        return True
    numbers = [rule["value"], rule["effect"], rule["threshold"], *(rule["interval"] or [None])]
    if rule["decision"] != "pass" or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        return False
    low, high = rule["interval"]
    if "max" in rule["bound"]:
        return bool(high <= rule["threshold"] + ROUNDING)
    return bool(low >= rule["threshold"] - ROUNDING)


def check_inputs() -> None:
    """Raise ValueError where a file that the verdict was read from is another one now.

    Not of the champion's: that one may be another by now, and promote has its own answer to that.
    """
    inputs: dict[str, str] = artifacts.read_manifest(PATH.parent)["inputs"]
    judged = {path: sha256 for path, sha256 in inputs.items() if not path.startswith(f"{DATA.as_posix()}/champion/")}
    if changed := [path for path, sha256 in judged.items() if artifacts.sha256(DATA.parent / path) != sha256]:
        raise ValueError(f"{' and '.join(changed)} changed after the verdict was given; run `dvc repro`")


def summary(verdict: Record) -> Record:
    """What `dvc metrics diff` compares: the verdict, the figures that its rules speak of, and what it rests on."""
    of: dict[str, dict[str, float]] = {CANDIDATE: {}, CHAMPION: {}}
    for rule in verdict["rules"]:
        name = f"{rule['metric']} {rule['slice']}" if rule["slice"] else rule["metric"]
        reference = rule["reference_value"] if rule["reference"] == CHAMPION else None
        for model, value in ((CANDIDATE, rule["value"]), (CHAMPION, reference)):
            if value is not None:
                of[model][name] = value
    measured_on = {"holdout": verdict["digests"]["split"][:SHORT], "tail": verdict["digests"]["tail"][:SHORT]}
    return {"verdict": verdict["verdict"]} | measured_on | {model: values for model, values in of.items() if values}


def refused(why: str) -> ValueError:
    return ValueError(f"{PATH} says PROMOTE, but {why}; run `dvc repro --force --single-item gate`")
