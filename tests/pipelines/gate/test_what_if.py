"""Another policy on a candidate that was judged: the same values, nothing trained, nothing written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from ruamel.yaml import YAML

from pipelines.artifacts import outputs
from pipelines.cli import main
from pipelines.evaluate import stage as evaluate
from pipelines.gate import stage as gate
from pipelines.gate import what_if
from tests.conftest import Workspace
from tests.pipelines import holdouts
from tests.pipelines.holdouts import model

FILE = Path("other.yaml")
BEATS = {"name": "beats popularity", "metric": "ndcg@10", "reference": "popularity", "min_gain": 0.0}
TAIL = {"name": "tail is found", "metric": "tail_recall@20", "reference": "popularity", "min_gain": 0.002}
HIGH = {"name": "high bar", "metric": "ndcg@10", "min": 0.99}


@pytest.fixture
def judged(workspace: Workspace) -> Workspace:
    """A candidate that was promoted by the policy that comes with the project, where nothing served before."""
    holdouts.write_all(model(knowledge=1))
    evaluate.main()
    gate.main()
    return workspace


def write(policy: Any) -> Path:
    with FILE.open("w", encoding="utf-8") as file:
        YAML().dump(policy, file)
    return FILE


def printed(given: Any, other: Any, width: int = 80) -> str:
    stream = io.StringIO()
    what_if.print_both(given, other, Console(file=stream, width=width))
    return stream.getvalue()


def snapshot() -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in Path().rglob("*") if path.is_file()}


def test_another_policy_decides_from_the_saved_values_and_writes_nothing(judged: Workspace) -> None:
    write({"rules": [BEATS, TAIL, HIGH]})
    before = snapshot()
    given, other = what_if.decide(FILE)
    assert snapshot() == before
    assert given == outputs.read_json(Path("data/gate/verdict.json"))
    assert (given["verdict"], other["verdict"]) == ("PROMOTE", "REJECT")
    assert {rule["name"]: rule["decision"] for rule in other["rules"]} == {
        "beats popularity": "pass",
        "tail is found": "pass",
        "high bar": "fail",
    }


def test_the_policy_that_was_used_decides_the_same_again(judged: Workspace) -> None:
    given, other = what_if.decide(judged.root / "params.yaml")
    assert {name: given[name] for name in other} == artifacts_of(other)


def artifacts_of(record: Any) -> Any:
    """As JSON gives it back: lists for tuples."""
    outputs.write_json(Path("as.json"), record)
    return outputs.read_json(Path("as.json"))


@pytest.mark.parametrize(
    ("policy", "correction", "n_rules"),
    [
        ({"rules": [BEATS]}, "holm", 1),
        ({"gate": {"rules": [BEATS, TAIL], "correction": "none"}}, "none", 2),
        ({"gate": {"correction": "none"}, "train": {"seed": "of no interest here"}}, "none", 9),
        ({"correction": "none"}, "none", 9),
    ],
)
def test_what_a_file_does_not_say_is_taken_from_params(
    judged: Workspace, policy: Any, correction: str, n_rules: int
) -> None:
    found = what_if.read(write(policy))
    assert (found.correction, len(found.rules), found.confidence) == (correction, n_rules, 0.95)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"rules": [BEATS | {"metric": "ndgc@10"}]}, r"other\.yaml: unknown metric 'ndgc@10'; .* one of ndcg, recall"),
        ({"rules": [BEATS | {"metric": "ndcg@15"}]}, r"ndcg@15 was not evaluated, k is \[10, 20\]"),
        (
            {"rules": [BEATS | {"reference": "oracle"}]},
            "unknown reference 'oracle'; expected one of best, champion, content, popularity",
        ),
        ({"rules": [HIGH | {"min": None, "max": 0.5}]}, "'high bar': ndcg@10 is better when higher, so that max would"),
        ({"rules": [HIGH | {"min": 1.5}]}, "'high bar' can never hold: ndcg@10 is between 0 and 1"),
        ({"rules": [BEATS | {"min": 0.1}]}, r"has the bounds \['min', 'min_gain'\], expected exactly one"),
        ({"rulez": []}, "unknown key gate.rulez"),
        ({"gates": {"rules": []}}, "unknown key gate.gates"),
        ({"gate": {"rules": []}, "trainn": {}}, "unknown section 'trainn'; the sections are ingest, "),
        ({"gate": None}, r"has no policy, expected some of confidence, .* rules"),
        ([BEATS], r"has list"),
    ],
)
def test_a_policy_that_means_nothing_is_an_error_that_lists_what_exists(
    judged: Workspace, policy: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        what_if.decide(write(policy))


def test_a_file_that_does_not_exist_is_said_to_be_none(judged: Workspace) -> None:
    with pytest.raises(FileNotFoundError, match=r"^nope\.yaml does not exist; give a YAML file with `rules:`"):
        what_if.decide(Path("nope.yaml"))


@pytest.mark.parametrize("text", ["[" * 5000, "- " * 100_000, "{a: " * 100_000 + "1" + "}" * 100_000])
@pytest.mark.slow
def test_a_file_that_nests_without_end_is_an_error(judged: Workspace, text: str) -> None:
    FILE.write_text(text)
    with pytest.raises(ValueError, match=r"^other\.yaml nests lists or mappings too deeply"):
        what_if.decide(FILE)


def test_values_that_were_evaluated_after_the_verdict_are_not_those_that_were_judged(judged: Workspace) -> None:
    write({"rules": [BEATS]})
    holdouts.write_candidate(model(knowledge=0.3))
    evaluate.main()
    with pytest.raises(ValueError, match=r"data/evaluate/per_user\.parquet changed after the verdict was given; run"):
        what_if.decide(FILE)


def test_without_a_verdict_or_with_an_edited_one_there_is_nothing_to_compare(judged: Workspace) -> None:
    write({"rules": [BEATS]})
    path = Path("data/gate/verdict.json")
    path.write_text(path.read_text().replace("PROMOTE", "REJECT"))
    with pytest.raises(ValueError, match=r"verdict\.json is corrupted"):
        what_if.decide(FILE)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="run `dvc repro gate`"):
        what_if.decide(FILE)


def test_both_decisions_stand_side_by_side_in_80_columns(judged: Workspace) -> None:
    text = printed(*what_if.decide(write({"rules": [BEATS | {"min_gain": 0.9}, TAIL, HIGH | {"name": "[red]high"}]})))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    (line,) = (line for line in lines if line.strip().startswith("beats popularity"))
    assert line.split()[-2:] == ["pass", "fail"]
    (line,) = (line for line in lines if line.strip().startswith("[red]high"))
    assert line.split()[-2:] == ["–", "fail"]
    (line,) = (line for line in lines if line.strip().startswith("tail held"))
    assert line.split()[-1] == "–"
    assert "as judged  PROMOTE" in text
    assert "what if    REJECT" in text


def test_the_command_takes_the_file_from_where_it_is_called(
    judged: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write({"rules": [HIGH]})
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    arguments = main.parser().parse_args(["gate", "--what-if", "../other.yaml"])
    monkeypatch.chdir(judged.root)  # as the command does
    arguments.action(arguments)
    assert "what if    REJECT" in capsys.readouterr().out
    arguments = main.parser().parse_args(["gate"])
    arguments.action(arguments)
    out = capsys.readouterr().out
    assert "PROMOTE" in out
    assert "what if" not in out


def test_slices_of_the_saved_values_can_be_ruled_on(judged: Workspace) -> None:
    with pytest.raises(ValueError, match="unknown slice 'group=niche'; expected one of "):
        what_if.decide(write({"rules": [HIGH | {"slice": "group=niche"}]}))
