"""verdict.json: read by its schema `verdict.schema.json`, and decided from the saved values of evaluate.

The gate writes the result of `record`; promote and what-if compute it again. A verdict can be wrong without being
forged: removing a rule by hand is enough.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.evaluation.measure import Evaluation
from models.evaluation.metric import Bools
from models.gate import attempts, continuity, policy
from models.gate.policy import BEST, CANDIDATE, CHAMPION, Procedure
from models.gate.rule import Rule, figure
from pipelines.artifacts import best_releases, outputs, tables
from pipelines.artifacts import per_user as saved_values
from pipelines.artifacts.outputs import DATA
from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.gate import Gate

PATH = DATA / "gate" / "verdict.json"
SCHEMA = Path(__file__).with_name("verdict.schema.json")
SCHEMA_VERSION = 2  # raised when readers of older verdicts would misread newer ones
AGAIN = "run `dvc repro --force --downstream gate`"
MANY = 20_000  # number of users from which deciding takes noticeable time
SHORT = 12  # characters of a shortened digest
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Saved:
    """Saved values of evaluate, from which any policy can be decided."""

    evaluations: Mapping[str, Evaluation]
    slices: Mapping[str, Bools]
    is_tail: Bools  # (n_items,)
    metrics: Record  # metrics.json
    read: Mapping[str, str]  # sha256 of evaluate's inputs, by path


def read() -> dict[str, Any]:
    """Read verdict.json of the working tree; raises ValueError if it does not match its manifest or schema."""
    from jsonschema import Draft202012Validator  # takes a third of a second
    from jsonschema.exceptions import best_match

    outputs.verify(PATH)
    verdict: dict[str, Any] = outputs.read_json(PATH)
    if isinstance(verdict, dict) and verdict.get("schema_version") in range(1, SCHEMA_VERSION):
        raise ValueError(
            f"{PATH} has schema_version {verdict['schema_version']}, expected {SCHEMA_VERSION}: an earlier version of "
            f"the gate wrote it; {AGAIN}"
        )
    if error := best_match(Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).iter_errors(verdict)):
        raise ValueError(f"{PATH} is not a valid verdict: {error.message[:200]} at {error.json_path}; {AGAIN}")
    return verdict


def saved(path: Callable[[str, str], Path]) -> Saved:
    """Read the saved values; path: (stage, name) to the file. Raises ValueError if files differ in models or users."""
    metrics: dict[str, Any] = outputs.read_json(path("evaluate", "metrics.json"))
    per_user = path("evaluate", "per_user.parquet")
    is_tail = tables.read(path("split", "items.parquet"), ["is_tail"])["is_tail"].to_numpy()
    evaluations, slices = saved_values.read(per_user, n_items=len(is_tail))
    n_users = {len(evaluation.lists) for evaluation in evaluations.values()}
    if (set(evaluations), n_users) != (set(metrics["models"]), {metrics["n_users"]}):
        raise ValueError(
            f"{per_user} has {', '.join(sorted(evaluations))} on {sorted(n_users)} users, metrics.json has "
            f"{', '.join(sorted(metrics['models']))} on {metrics['n_users']}; "
            "run `dvc repro --force --downstream evaluate`"
        )
    return Saved(evaluations, slices, is_tail, metrics, outputs.read_manifest(per_user.parent)["inputs"])


def record(params: Gate, judged: Saved, champion: Record, attempt: Record) -> dict[str, Any]:
    """Return verdict.json without the digests: a policy's decision on the saved values. champion: champion.json.

    attempt: position of the judgement in the ledger, which determines its level.
    """
    check_champion(judged, champion)
    rules, how = policy_of(params, attempt, champion)
    changes = continuity.changes(judged.metrics.get("since_champion"), champion["version"], limits_of(params, champion))
    unfair = judged.metrics["unfair_champion"]
    best = policy.Best(best_releases.models(champion), judged.metrics["unfair_best"], judged.metrics["absent_best"])
    verdict = policy.judge(
        rules, judged.evaluations, judged.is_tail, how, slices=judged.slices, unfair_champion=unfair, best=best,
        held_back=continuity.reason(changes, champion["version"]),
    )  # fmt: skip
    found = {"schema_version": SCHEMA_VERSION} | asdict(verdict) | asdict(how)
    found |= {"champion": champion, "unfair_champion": unfair, "n_users": judged.metrics["n_users"]}
    return found | {"changes": [asdict(change) for change in changes], "attempt": attempt}


def check_champion(judged: Saved, champion: Record) -> None:
    """Raise ValueError if another champion or best release was evaluated, or none."""
    models, version = judged.metrics["models"], champion["version"]
    evaluated = CHAMPION in models or judged.metrics["unfair_champion"] is not None
    if (version is not None) != evaluated:
        raise ValueError(
            f"the champion is {version}, but the evaluated models are {', '.join(models)}; run `dvc repro evaluate`"
        )
    model = judged.read.get(f"{DATA}/champion/model.safetensors")
    if CHAMPION in models and model != champion.get("model_sha256"):
        raise ValueError(
            f"the champion is {version} with the model {champion.get('model_sha256')}, but the evaluated one "
            f"is {model}; run `dvc repro evaluate`"
        )
    left_out = {**judged.metrics["unfair_best"], **judged.metrics["absent_best"]}
    for name, release in best_releases.others(champion).items():
        model = judged.read.get(f"{DATA}/champion/{best_releases.prefix(release)}model.safetensors")
        if name not in left_out and (name not in models or model != release["model_sha256"]):
            raise ValueError(
                f"the best release is {release['version']} with the model {release['model_sha256']}, but the evaluated "
                f"one is {model}; run `dvc repro evaluate`"
            )


def policy_of(params: Gate, attempt: Record, champion: Record) -> tuple[list[Rule], Procedure]:
    """Return the policy in params.yaml, at the level of an attempt's position.

    Where the candidate serves already, what its release was exempt from stays left out.
    """
    skipped = (champion.get("released") or {}).get("seen_holdout") == "skip"
    how = Procedure(
        confidence=params.confidence,
        correction=params.correction,
        seen_holdout="skip" if skipped else params.seen_holdout,
        passing=passing(params, attempt),
    )
    return list(params.rules), how


def limits_of(params: Gate, champion: Record) -> continuity.Limits:
    """Return the limits of changes; a candidate that serves already was accepted with its own."""
    accepted = (champion.get("released") or {}).get("accept_shrink")
    return continuity.Limits(params.max_lost_items, params.max_lost_users, accepted or params.accept_shrink)


def passing(params: Gate, attempt: Record) -> float | None:
    """Return the confidence for passing at an attempt's position; None: that of the policy, as for the first one."""
    where = attempts.Place(attempt["number"], attempt["line"])
    if params.attempts.rule == "count" or where == attempts.Place(1, 0):
        return None
    return attempts.confidence(attempts.level(where, alpha=round(1 - params.confidence, 12), half=params.attempts.half))


def decide_again(verdict: Record) -> None:
    """Raise ValueError if a verdict differs from the decision of the policy in params.yaml on the saved values."""
    if verdict["n_users"] >= MANY:
        say("longtail", f"deciding again, from the saved values of {verdict['n_users']:,} users")
    again = json.loads(json.dumps(record(load(Gate), saved(verified), verdict["champion"], verdict["attempt"])))
    if other := [name for name, value in again.items() if not same(value, verdict[name])]:
        raise ValueError(
            f"{PATH} does not match gate in params.yaml on the saved values, which is {again['verdict']}: "
            f"{' and '.join(other)} differ; {AGAIN}"
        )


def same(one: Any, other: Any) -> bool:
    """Return whether values are equal except for rounding: processors and thread counts change the order of sums."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


def verified(stage: str, name: str) -> Path:
    """Return the path of a stage's file, verified against its manifest."""
    path = DATA / stage / name
    outputs.verify(path)
    return path


def check_inputs() -> None:
    """Raise ValueError if an input file of the verdict has changed.

    The champion's files are exempt: the champion may be another one by now, which promote checks itself.
    """
    inputs: dict[str, str] = outputs.read_manifest(PATH.parent)["inputs"]
    judged = {path: sha256 for path, sha256 in inputs.items() if not path.startswith(f"{DATA.as_posix()}/champion/")}
    if changed := [path for path, sha256 in judged.items() if outputs.sha256(DATA.parent / path) != sha256]:
        raise ValueError(f"{' and '.join(changed)} changed after the verdict was given; run `dvc repro`")


def summary(verdict: Record) -> Record:
    """Return the content of `dvc metrics diff`: the verdict, the figures of its rules, and its basis."""
    of: dict[str, dict[str, float]] = {CANDIDATE: {}, CHAMPION: {}, BEST: {}}
    best = best_releases.models(verdict["champion"])
    for rule in verdict["rules"]:
        name = f"{rule['metric']} {rule['slice']}" if rule["slice"] else rule["metric"]
        role = CHAMPION if rule["reference"] == CHAMPION else BEST
        known = rule["reference"] in (CHAMPION, best.get(figure(rule["metric"], rule["slice"])))
        for model, value in ((CANDIDATE, rule["value"]), (role, rule["reference_value"] if known else None)):
            if value is not None:
                of[model][name] = value
    measured_on = {"holdout": verdict["digests"]["split"][:SHORT], "tail": verdict["digests"]["tail"][:SHORT]}
    return {"verdict": verdict["verdict"]} | measured_on | {model: values for model, values in of.items() if values}
