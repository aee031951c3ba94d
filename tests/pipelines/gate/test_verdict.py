"""The verdict as a document: its published schema, and one that is not what the saved values say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from models.gate.rule import BOUNDS
from pipelines.artifacts import outputs, tables
from pipelines.evaluate import stage as evaluate
from pipelines.gate import stage as gate
from pipelines.gate import verdict
from tests.conftest import REPO, Workspace
from tests.pipelines import holdouts
from tests.pipelines.holdouts import model

SCHEMA = json.loads((REPO / "pipelines" / "gate" / "verdict.schema.json").read_text("utf-8"))
Record = dict[str, Any]


def judge() -> Record:
    evaluate.main()
    gate.main()
    record: Record = outputs.read_json(verdict.PATH)
    return record


def errors(record: Record) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(record)]


def rule(**changes: Any) -> Record:
    return {"name": "r", "metric": "ndcg@10", "reference": "popularity", "min_gain": 0.0} | changes


FOUND = rule(name="tail", metric="tail_recall@20", min_gain=0.1)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("knowledge", "champion", "policy", "verdict"),
    [
        (1, None, {}, "PROMOTE"),
        (1, 0.3, {"correction": "holm"}, "PROMOTE"),
        (0.02, 1, {}, "REJECT"),
        (1, 0.9, {"rules": [rule(), FOUND, rule(name="at the bound", reference="champion")]}, "HOLD"),
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


def test_the_schema_has_every_kind_of_bound() -> None:
    bound = json.loads(verdict.SCHEMA.read_text("utf-8"))["$defs"]["rule"]["properties"]["bound"]
    assert list(bound["properties"]) == [*BOUNDS, "relative", "tolerance"]
    assert bound["oneOf"] == [{"required": [name]} for name in BOUNDS]


def without(key: str) -> Callable[[Record], object]:
    return lambda record: record.pop(key)


def of_rule(**changes: Any) -> Callable[[Record], object]:
    return lambda record: record["rules"][0].update(changes)


@pytest.fixture
def promoted(judged_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """The verdict in a copy of that workspace, which is the current folder."""
    shutil.copytree(judged_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    record: Record = outputs.read_json(verdict.PATH)
    return record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("reason"), "'reason' is a required property"),
        (lambda record: record["digests"].pop("code"), "'code' is a required property"),
        (lambda record: record.update(verdict="MAYBE"), "'MAYBE' is not one of"),
        (lambda record: record.update(extra=1), "Additional properties are not allowed"),
        (lambda record: record.update(schema_version=3), "2 was expected"),
        (of_rule(value="0.3"), "is not of type 'number'"),
        (of_rule(interval=None), "None is not of type 'array'"),
        (of_rule(interval=[0.1]), "is not valid under any"),
        (of_rule(interval=[0.1, "0.2"]), "is not valid under any"),
        (of_rule(p_pass=1.5), "is not valid under any"),
        (of_rule(users_needed=0), "is not valid under any"),
        (of_rule(p_violated=0.1), "Additional properties are not allowed"),
        (of_rule(bound={"min": 0.1, "max": 0.2}), "is valid under each of"),
        (of_rule(metric="ndcg"), "does not match"),
    ],
)
def test_the_schema_refuses_what_is_no_verdict(
    promoted: Record, change: Callable[[Record], object], message: str
) -> None:
    change(promoted)
    assert any(message in each for each in errors(promoted))


def rewrite(text: str) -> None:
    """verdict.json with another text, its manifest made to match."""
    manifest = verdict.PATH.with_name(outputs.MANIFEST)
    inputs = outputs.read_manifest(manifest.parent)["inputs"]
    manifest.unlink()
    verdict.PATH.write_text(text)
    outputs.write_manifest(manifest.parent, stage="gate", inputs=inputs)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (without("digests"), r"'digests' is a required property at \$"),
        (lambda record: record.update(rules=None), r"None is not of type 'array' at \$\.rules"),
        (lambda record: record["rules"][0].pop("interval"), r"'interval' is a required property at \$\.rules\[0\]"),
        (lambda record: record["controls"][1].pop("discriminates"), r"'discriminates' is .* at \$\.controls\[1\]"),
        (lambda record: record.update(champion=None), r"at \$\.champion"),
        (lambda record: record.update(schema_version=99), r"2 was expected at \$\.schema_version"),
        (lambda record: record.clear(), r"is a required property at \$"),
    ],
)
def test_what_is_no_verdict_is_not_read(promoted: Record, change: Callable[[Record], object], where: str) -> None:
    change(promoted)
    rewrite(json.dumps(promoted))
    with pytest.raises(
        ValueError, match=rf"^data/gate/verdict\.json is not a valid verdict: .*{where}; run `dvc repro --force"
    ):
        verdict.read()


def test_a_verdict_of_an_earlier_gate_is_said_to_be_one(promoted: Record) -> None:
    earlier = promoted | {"schema_version": 1, "resamples": 1000, "seed": 42, "min_users": 100}
    earlier["rules"] = [
        {name: value for name, value in rule.items() if name not in ("p_pass", "p_fail", "users_needed")}
        | {"p_violated": 0.9}
        for rule in promoted["rules"]
    ]
    rewrite(json.dumps(earlier))
    with pytest.raises(ValueError, match=r"has schema_version 1, expected 2: an earlier .*; run `dvc repro --force"):
        verdict.read()


@pytest.mark.parametrize("text", ["[]", "null", "5", "{", "[" * 100_000])
def test_what_is_no_object_is_not_read(promoted: Record, text: str) -> None:
    rewrite(text)
    with pytest.raises(ValueError, match=r"^data/gate/verdict\.json is not (a valid verdict|valid JSON)"):
        verdict.read()


def test_a_verdict_as_the_gate_gives_it_is_decided_again(promoted: Record) -> None:
    verdict.decide_again(verdict.read())
    verdict.check_inputs()


def test_the_last_digits_of_a_sum_may_differ(promoted: Record) -> None:
    """As they do with another number of threads."""
    promoted["rules"][0]["value"] *= 1 + 1e-13
    verdict.decide_again(promoted)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda record: record["rules"].pop(), "rules"),
        (lambda record: record["rules"].append(record["rules"][0] | {"name": "more"}), "rules"),
        (of_rule(bound={"min_gain": 0.1, "relative": False}), "rules"),
        (of_rule(threshold=-1.0), "rules"),
        (of_rule(value=0.99), "rules"),
        (of_rule(value=float("nan")), "rules"),
        (of_rule(interval=[0.1, 0.3]), "rules"),
        (of_rule(interval=[None, 0.3]), "rules"),
        (of_rule(p_pass=0.5), "rules"),
        (of_rule(users_needed=300), "rules"),
        (of_rule(decision="not_applicable", effect=None, interval=None), "rules"),
        (lambda record: record["controls"].pop(), "controls"),
        (lambda record: record["controls"][0].update(undecided=True), "controls"),
        (lambda record: record.update(confidence=0.6), "confidence"),
        (lambda record: record.update(reason="forged"), "reason"),
        (lambda record: record.update(n_users=1), "n_users"),
        (lambda record: record.update(unfair_champion="forged"), "unfair_champion"),
    ],
)
def test_a_verdict_that_the_saved_values_do_not_give_is_refused(
    promoted: Record, change: Callable[[Record], object], what: str
) -> None:
    change(promoted)
    with pytest.raises(ValueError, match=f"saved values, which is PROMOTE: {what} differ; run `dvc repro"):
        verdict.decide_again(promoted)


def test_a_reject_that_says_promote_is_refused(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=0.02), model(knowledge=1))
    rejected = judge()
    with pytest.raises(ValueError, match="saved values, which is REJECT: verdict differ"):
        verdict.decide_again(rejected | {"verdict": "PROMOTE"})


def test_a_champion_whose_rows_are_missing_is_noticed(promoted: Record) -> None:
    """Else its rules would not apply, as if nothing had served."""
    path = Path("data/evaluate/per_user.parquet")
    table = tables.read(path)
    inputs = outputs.read_manifest(path.parent)["inputs"]
    tables.write(table.filter(pc.not_equal(table["model"], pa.scalar("champion"))), path)
    path.with_name(outputs.MANIFEST).unlink()
    outputs.write_manifest(path.parent, stage="evaluate", inputs=inputs)
    for decide in (gate.main, lambda: verdict.decide_again(promoted)):
        with pytest.raises(ValueError, match=r"per_user\.parquet has candidate, .* has candidate, champion"):
            decide()


def test_a_champion_that_was_not_the_one_evaluated_is_noticed(promoted: Record) -> None:
    holdouts.write_champion(model(knowledge=-1))
    with pytest.raises(ValueError, match=r"^the champion is v1\.0\.0 with the model .*, but the evaluated one is"):
        gate.main()


def test_a_best_release_that_was_not_the_one_evaluated_is_noticed(promoted: Record) -> None:
    best = {"ndcg@10": model(knowledge=0.8)}
    holdouts.write_champion(model(knowledge=0.9), best=best)  # the champion is as before
    with pytest.raises(ValueError, match=r"^the best release is v1\.0\.0 with the model .*, but the evaluated one is"):
        gate.main()
    evaluate.main()
    gate.main()
    assert errors(verdict.read()) == []
    holdouts.write_champion(model(knowledge=0.9), best={"ndcg@10": model(knowledge=0.7)})
    with pytest.raises(ValueError, match=r"^the best release is v1\.0\.0 with the model .*, but the evaluated one is"):
        gate.main()


def test_a_best_release_that_is_not_described_is_no_verdict(promoted: Record) -> None:
    promoted["champion"]["best"] = {"ndcg@10": {"version": "v1.0.0"}}
    assert any("'commit' is a required property" in each for each in errors(promoted))


@pytest.mark.parametrize(
    "path", ["evaluate/metrics.json", "evaluate/per_user.parquet", "split/items.parquet", "train/model.safetensors"]
)
def test_an_input_that_was_edited_afterwards_is_named(promoted: Record, path: str) -> None:
    with Path("data", path).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ValueError, match=f"^data/{path} changed after the verdict was given; run `dvc repro`"):
        verdict.check_inputs()


def test_another_champion_is_left_to_the_comparison(promoted: Record) -> None:
    Path("data/champion/champion.json").write_text("{}")
    verdict.check_inputs()
