"""The verdict as a document: its published schema, and a PROMOTE that its own numbers do not bear."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipelines import _artifacts as artifacts
from pipelines import _verdict, evaluate, gate
from pipelines._params import Gate, load
from tests.conftest import REPO, Workspace
from tests.pipelines import holdouts
from tests.pipelines.holdouts import model

SCHEMA = json.loads((REPO / "pipelines" / "verdict.schema.json").read_text("utf-8"))
Record = dict[str, Any]


def judge() -> Record:
    evaluate.main()
    gate.main()
    record: Record = artifacts.read_json(_verdict.PATH)
    return record


def errors(record: Record) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(record)]


def rule(**changes: Any) -> Record:
    return {"name": "r", "metric": "ndcg@10", "reference": "popularity", "min_gain": 0.0} | changes


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("knowledge", "champion", "policy", "verdict"),
    [
        (1, None, {}, "PROMOTE"),
        (1, 0.3, {"correction": "holm"}, "PROMOTE"),
        (0.02, 1, {}, "REJECT"),
        (1, None, {"min_users": 1000}, "HOLD"),
        (1, None, {"rules": []}, "REJECT"),
        (1, None, {"rules": [rule(max_loss=0.1, min_gain=None, reference="champion", relative=True)]}, "REJECT"),
        (
            1,
            None,
            {
                "rules": [
                    rule(tolerance=0.1),
                    rule(name="even", metric="gini@10", reference=None, min_gain=None, max=0.9),
                ]
            },
            "REJECT",
        ),
        (1, None, {"rules": [rule(relative=True, metric="aplt@10"), rule(name="gini", metric="gini@20")]}, "REJECT"),
    ],
)
def test_real_verdicts_have_the_published_schema(
    workspace: Workspace, knowledge: float, champion: float | None, policy: Record, verdict: str
) -> None:
    holdouts.write_all(model(knowledge=knowledge), None if champion is None else model(knowledge=champion))
    workspace.params("gate", policy)
    record = judge()
    assert record["verdict"] == verdict
    assert errors(record) == []


def without(key: str) -> Callable[[Record], object]:
    return lambda record: record.pop(key)


def of_rule(**changes: Any) -> Callable[[Record], object]:
    return lambda record: record["rules"][0].update(changes)


@pytest.fixture
def promoted(workspace: Workspace) -> Record:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.9))
    record = judge()
    assert record["verdict"] == "PROMOTE"
    return record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("reason"), "'reason' is a required property"),
        (lambda record: record["digests"].pop("code"), "'code' is a required property"),
        (lambda record: record.update(verdict="MAYBE"), "'MAYBE' is not one of"),
        (lambda record: record.update(extra=1), "Additional properties are not allowed"),
        (lambda record: record.update(schema_version=2), "1 was expected"),
        (of_rule(value="0.3"), "is not of type 'number'"),
        (of_rule(interval=None), "None is not of type 'array'"),
        (of_rule(interval=[0.1]), "is not valid under any"),
        (of_rule(bound={"min": 0.1, "max": 0.2}), "is valid under each of"),
        (of_rule(metric="ndcg"), "does not match"),
    ],
)
def test_the_schema_refuses_what_is_no_verdict(
    promoted: Record, change: Callable[[Record], object], message: str
) -> None:
    change(promoted)
    assert any(message in each for each in errors(promoted))


def test_a_verdict_as_the_gate_gives_it_is_one(promoted: Record) -> None:
    _verdict.check(promoted, load(Gate))
    _verdict.check_inputs()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["rules"].pop(), "'tail still shown' missing, added or changed"),
        (lambda record: record["rules"].append(record["rules"][0] | {"name": "more"}), "'more' missing, added or"),
        (of_rule(bound={"min_gain": -1.0, "relative": False}), "'beats popularity' missing, added or changed"),
        (of_rule(slice="group=niche"), "'beats popularity' missing, added or changed"),
        (lambda record: record.update(confidence=0.6), "confidence of the policy were others"),
        (of_rule(value=float("nan")), "do not show that rule 'beats popularity' holds"),
        (of_rule(interval=[float("nan"), 0.3]), "do not show that rule 'beats popularity' holds"),
        (of_rule(interval=None), "do not show that rule 'beats popularity' holds"),
        (of_rule(interval=[-0.1, 0.3]), "do not show that rule 'beats popularity' holds"),
        (of_rule(decision="fail"), "do not show that rule 'beats popularity' holds"),
        (of_rule(decision="inconclusive"), "do not show that rule 'beats popularity' holds"),
        (lambda record: [r.update(decision="not_applicable") for r in record["rules"]], "no rule was applied"),
        (lambda record: record["controls"].pop(), "does not show that random and popularity were rejected"),
        (lambda record: record["controls"][0].update(discriminates=False), "does not show that random"),
    ],
)
def test_a_promote_that_its_own_numbers_do_not_bear_is_refused(
    promoted: Record, change: Callable[[Record], object], message: str
) -> None:
    forged = copy.deepcopy(promoted)
    change(forged)
    with pytest.raises(ValueError, match=f"says PROMOTE, but .*{message}.*; run `dvc repro"):
        _verdict.check(forged, load(Gate))


def test_an_upper_bound_is_shown_by_the_upper_end(promoted: Record) -> None:
    upper = promoted["rules"][0] | {"bound": {"max": 0.5}, "threshold": 0.5, "interval": [0.1, 0.4]}
    assert _verdict.holds(upper)
    assert not _verdict.holds(upper | {"interval": [0.1, 0.6]})


@pytest.mark.parametrize(
    "path", ["evaluate/metrics.json", "evaluate/per_user.parquet", "split/items.parquet", "train/model.safetensors"]
)
def test_an_input_that_was_edited_afterwards_is_named(promoted: Record, path: str) -> None:
    with Path("data", path).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ValueError, match=f"^data/{path} changed after the verdict was given; run `dvc repro`"):
        _verdict.check_inputs()


def test_another_champion_is_left_to_the_comparison(promoted: Record) -> None:
    Path("data/champion/champion.json").write_text("{}")
    _verdict.check_inputs()
