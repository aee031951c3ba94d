"""Judgements that are counted: numbers, levels and epochs, in the report, and in promote's refusals."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from models.evaluation.measure import Evaluation
from models.gate import attempts
from models.gate.attempts import Place
from pipelines.artifacts import outputs, tables
from pipelines.gate import attempts as gate_attempts
from pipelines.gate import ledger, what_if
from pipelines.gate import verdict as verdicts
from pipelines.gate.ledger import Judgement, Lost
from pipelines.gate.position import History
from pipelines.gate.report import attempts as report_attempts
from pipelines.gate.report import page
from pipelines.orchestration import approval_tasks
from pipelines.registry.champion import NONE
from pipelines.release import candidate, lineage, release
from pipelines.runtime import console
from pipelines.settings.document import load
from pipelines.settings.gate import Gate
from tests import made
from tests.conftest import Workspace, edit_params
from tests.pipelines import releases
from tests.pipelines.releases import Checkout, clone, git, longtail, share

SECOND = attempts.level(Place(2, 0), alpha=0.05, half=30)


def judge(number: int = 1, /, **split: Any) -> dict[str, Any]:
    """The verdict on a model of a number, as the gate gives it and without what DVC keeps."""
    releases.write_ingest_and_split()
    if split:
        items = Path("data/split/items.parquet").read_bytes()
        with made.stage("split") as stage:
            stage.output("items.parquet").write_bytes(items)
            hashes = {"tail_sha256": "a" * 64, "holdout_sha256": "b" * 64}
            described: dict[str, Any] = {**hashes, **releases.SPLIT, **releases.SIZES, **releases.SOURCE, **split}
            if described["cutoffs"]:
                last = datetime.fromisoformat(described.pop("last"))
                tables.write(pa.table({"timestamp": pa.array([last])}), stage.output("test.parquet"))
            outputs.write_json(stage.output("holdout.json"), described)
    with made.stage("train") as stage:
        save_file({"item_factors": np.full((2, 2), number, np.float32)}, stage.output("model.safetensors"))
    releases.evaluate(NONE, {})
    with made.stage("gate") as stage:
        record, history = gate_attempts.judge(load(Gate), verdicts.saved(stage.input), NONE, stage.input)
        outputs.write_json(stage.output("verdict.json"), record)
        outputs.write_json(stage.output("shown.json"), shown(record, history))
    return record


def shown(record: dict[str, Any], history: History) -> dict[str, Any]:
    holdout = {**outputs.read_json(Path("data/split/holdout.json")), "n_train": 80, "n_valid": 10, "n_test": 10}
    section = report_attempts.section(record, holdout, history)
    macros: Any = page.environment().get_template("sections.html").module
    return {"html": macros.attempts_section(section), "md": "\n".join(report_attempts.markdown(section))}


def report(kind: str) -> str:
    return str(outputs.read_json(Path("data/gate/shown.json"))[kind])


def place(record: dict[str, Any]) -> tuple[int, int]:
    return record["attempt"]["number"], record["attempt"]["line"]


def kinds() -> list[tuple[str, int]]:
    return [(e.kind, e.number if isinstance(e, Judgement) else 0) for e in ledger.read().entries]


def test_every_candidate_has_a_number_and_the_same_one_keeps_it(checkout: Checkout) -> None:
    first, second, again = judge(1), judge(2), judge(1)
    assert [place(each) for each in (first, second, again)] == [(1, 0), (2, 0), (1, 0)]
    assert (first["passing"], first["attempt"]["level"]) == (None, 0.05)
    assert second["passing"] == pytest.approx(1 - SECOND)
    assert second["attempt"]["earlier"] == {"PROMOTE": 1, "HOLD": 0, "REJECT": 0}
    assert again == first
    assert kinds() == [("judgement", 1), ("judgement", 2)]


def test_another_policy_is_another_attempt(checkout: Checkout) -> None:
    judge(1)
    edit_params(Path("params.yaml"), "gate", {"confidence": 0.94})
    assert place(judge(1)) == (2, 0)


def test_other_code_judges_the_same_attempt_and_leaves_a_trace(checkout: Checkout) -> None:
    judge(1)
    with Path("pipelines/gate/stage.py").open("a") as file:
        file.write("# a remark\n")
    assert place(judge(1)) == (1, 0)
    assert kinds() == [("judgement", 1), ("judgement", 1)]
    assert place(judge(2)) == (2, 0)


@pytest.mark.slow
def test_another_seed_of_the_split_is_another_line_and_no_new_budget(checkout: Checkout) -> None:
    judge(1)
    levels = [judge(1, seed=seed, holdout_sha256=f"{seed:064x}")["attempt"]["level"] for seed in range(10)]
    assert levels[0] == attempts.level(Place(1, 1), alpha=0.05, half=30)
    assert 0.05 + sum(levels) < 0.1
    assert place(judge(2)) == (2, 0)


@pytest.mark.slow
def test_windows_of_time_that_meet_count_and_others_do_not(checkout: Checkout) -> None:
    def on(start: str, end: str, seed: int) -> tuple[int, int]:
        cutoffs = [start, f"{start}T00:00:00+00:00"]
        split = {"strategy": "time", "cutoffs": cutoffs, "last": f"{end}T00:00:00+00:00"}
        return place(judge(seed, **split, holdout_sha256=f"{seed:064x}"))

    assert on("2026-01-01", "2026-01-31", 1) == (1, 0)
    assert on("2026-01-02", "2026-02-01", 2) == (2, 0)
    assert on("2026-02-02", "2026-03-04", 3) == (1, 0)
    assert on("2026-02-01", "2026-03-03", 4) == (3, 0)  # shares days with the second and third
    assert "2026-03-04 " not in report("html")
    assert re.search(r"needs 11 further ones: .* they exist on 2026-04-06, 33 days after its last event", report("md"))


def test_a_candidate_that_needs_luck_is_promoted_when_it_is_the_first_and_held_when_it_is_not(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=releases.N_USERS)
    noise = (noise - noise.mean()) / noise.std() * 0.05 + 2.3 * 0.05 / np.sqrt(releases.N_USERS)
    plain = releases.evaluation

    def evaluation(model: str, ndcg: float | None = None) -> Evaluation:
        found = plain(model, ndcg)
        if model == "candidate":
            found.per_user.update({name: 0.2 + noise for name in found.per_user if name.startswith("ndcg")})
        return found

    monkeypatch.setattr(releases, "evaluation", evaluation)
    first, second = judge(1), judge(2)
    assert (first["verdict"], second["verdict"]) == ("PROMOTE", "HOLD")
    assert all(control["discriminates"] for control in second["controls"])
    edit_params(Path("params.yaml"), "gate", {"attempts.rule": "count"})
    counted = judge(2)
    assert (counted["verdict"], place(counted), counted["attempt"]["level"]) == ("PROMOTE", (3, 0), 0.05)
    assert "the best of many passes by luck" in report("md")


def test_the_same_judgement_a_day_later_gives_the_same_report(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(1)
    before = {kind: report(kind) for kind in ("html", "md")}
    monkeypatch.setattr(gate_attempts, "now", lambda: "2099-12-31T23:59:59+00:00")
    judge(1)
    assert {kind: report(kind) for kind in ("html", "md")} == before


def test_a_verdict_has_the_published_schema_and_is_decided_again(checkout: Checkout) -> None:
    judge(1)
    second = judge(2)
    assert verdicts.read() == json.loads(json.dumps(second))
    verdicts.decide_again(verdicts.read())
    gate_attempts.confirm(verdicts.read())


def test_outside_git_nothing_is_counted_and_that_is_told(workspace: Workspace) -> None:
    record = judge(1)
    assert record["attempt"]["notes"] == [gate_attempts.NO_GIT]
    assert "nothing was counted" in report("html")


def test_a_pruned_ledger_asks_for_the_judgement_again(checkout: Checkout) -> None:
    record = judge(1)
    git(checkout.root, "update-ref", "-d", ledger.REF)
    with pytest.raises(ValueError, match=r"has no entry of this judgement: .*`dvc repro --force --downstream gate`"):
        gate_attempts.confirm(record)
    gate_attempts.confirm(judge(1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.update(level=0.05), "level 0.05 instead of 0.0008"),
        (lambda a: a.update(number=1), "number 1 instead of 2"),
        (lambda a: a.update(line=1), "line 1 instead of 0"),
        (lambda a: a.update(epoch="v9.0.0"), "epoch v9.0.0 instead of None"),
        (lambda a: a.update(rule="count"), "rule count instead of spend"),
        (lambda a: a.update(judgement="c" * 64), "has no reference to the ledger"),
    ],
)
def test_a_verdict_with_another_place_than_the_ledger_gives_is_refused(
    checkout: Checkout, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    judge(1)
    record = judge(2)
    change(record["attempt"])
    with pytest.raises(ValueError, match=re.escape(said)):
        gate_attempts.confirm(record)


@pytest.mark.parametrize("change", [{"verdict": "HOLD"}, {"level": 0.01}, {"digests": dict.fromkeys("ab", "c" * 64)}])
def test_an_altered_entry_is_refused(checkout: Checkout, change: dict[str, Any]) -> None:
    record = judge(1)
    (entry,) = ledger.read().entries
    git(checkout.root, "update-ref", "-d", ledger.REF)
    assert ledger.append(ledger.read(), entry.model_copy(update=change))
    with pytest.raises(ValueError, match="has this judgement with the verdict"):
        gate_attempts.confirm(record)


def test_what_if_is_counted_apart_and_once(checkout: Checkout) -> None:
    judge(1)
    Path("other.yaml").write_text("rules:\n- {name: high, metric: ndcg@10, min: 0.99}\n")
    for _ in range(2):
        assert what_if.decide(Path("other.yaml"))[1]["verdict"] == "REJECT"
    assert kinds() == [("judgement", 1), ("what-if", 1)]
    second = judge(2)
    assert (place(second), second["attempt"]["what_if"]) == ((2, 0), 1)


def test_names_of_other_people_are_text_in_every_report(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_NAME", "<script>x</script>|`\x1b[31m")
    monkeypatch.setenv(console.RUN, "run | <b>")
    judge(1)
    record = judge(2)
    for text in (report("html"), report("md"), "\n".join(approval_tasks.table(record | {"n_users": 3}))):
        assert "<script" not in text
        assert "\x1b" not in text
    assert "run | &lt;b&gt;" in report("html")
    assert [entry.run for entry in ledger.read().entries] == ["run | <b>"] * 2


def test_the_question_of_an_approval_names_number_level_and_those_before(checkout: Checkout) -> None:
    judge(1)
    text = "\n".join(approval_tasks.table(judge(2)))
    assert "- Judgement 2 of this holdout before any promotion." in text
    assert "on any holdout: 1 PROMOTE, by" in text
    assert "99.9194 % confidence instead of 95 %" in text


@pytest.mark.slow
def test_a_release_starts_an_epoch_and_a_rollback_does_not(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    second = outputs.read_json(verdicts.PATH)["attempt"]
    assert (second["epoch"], second["number"]) == ("v1.0.0", 1)
    checkout.candidate(1)  # the serving one once more, against what it was compared with
    again = outputs.read_json(verdicts.PATH)["attempt"]
    assert (again["epoch"], again["number"]) == (None, 1)
    checkout.candidate(2)
    checkout.promote()
    release.rollback()
    checkout.candidate(3)
    third = outputs.read_json(verdicts.PATH)["attempt"]
    assert (third["epoch"], third["number"]) == ("v2.0.0", 1)
    checkout.candidate(2)  # rolled back, and judged as before
    release.promote(again=True)
    release.rollback("v1.0.0")
    checkout.candidate(4)
    fourth = outputs.read_json(verdicts.PATH)["attempt"]
    assert (fourth["epoch"], fourth["number"]) == ("v2.0.0", 2)
    assert "Judgement 1 of this holdout since v1.0.0 was promoted." in "\n".join(lineage.lineage("v2.0.0"))


@pytest.mark.slow
def test_a_ledger_that_is_gone_while_releases_name_it_gives_no_new_budget(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    git(checkout.root, "update-ref", "-d", ledger.REF)
    with pytest.raises(ValueError, match=r"no entry of the judgement that promoted v1\.0\.0.*--begin-anew"):
        judge(2)
    told = longtail(checkout.root, "attempts", "--begin-anew", "the disk broke")
    assert told.returncode == 0, told.stderr
    assert "the disk broke" in told.stdout
    (lost,) = ledger.read().entries
    assert isinstance(lost, Lost)
    record = judge(2)
    assert (record["attempt"]["epoch"], place(record)) == ("v1.0.0", (31, 0))
    assert any("the disk broke" in note for note in record["attempt"]["notes"])
    refused = longtail(checkout.root, "attempts", "--begin-anew", "once more")
    assert (refused.returncode, "nothing to begin anew" in refused.stderr) == (1, True)


def test_a_clone_without_the_ledger_is_told_where_it_is(checkout: Checkout, tmp_path: Path) -> None:
    """`git clone` fetches tags and no refs/longtail."""
    checkout.candidate(1)
    checkout.promote()
    git(checkout.root, "clone", "--quiet", ".", str(tmp_path / "other"))
    with chdir(tmp_path / "other"):
        with pytest.raises(ValueError, match="history is missing here"):
            judge(2)
        git(tmp_path / "other", "fetch", "--quiet", "origin", f"+{ledger.REF}:{ledger.REF}")
        record = judge(2)
    assert place(record) == (1, 0)
    assert "has the Git remote 'origin', but release.remote is null" in record["attempt"]["notes"][0]


def test_releases_older_than_the_ledger_are_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_attempts, "confirm", lambda *_, **__: None)
    checkout.candidate(1)
    verdict = outputs.read_json(verdicts.PATH)
    monkeypatch.setattr(verdicts, "read", lambda: verdict)
    monkeypatch.setattr(verdicts, "decide_again", lambda _: None)
    old = {name: value for name, value in verdict.items() if name != "attempt"}
    written = {verdicts.PATH: json.dumps(old).encode()}
    bento = outputs.read_json(candidate.BENTO)
    bento["verdict_sha256"] = hashlib.sha256(written[verdicts.PATH]).hexdigest()
    written[candidate.BENTO] = json.dumps(bento).encode()
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: written.get(path) or original(path))
    release.promote()
    monkeypatch.undo()
    with chdir(checkout.root):
        git(checkout.root, "update-ref", "-d", ledger.REF)
        assert judge(2)["attempt"]["notes"] == [
            "releases up to v1.0.0 are older than the ledger: judgements of that time were not recorded"
        ]
        assert "older than the ledger" in "\n".join(lineage.lineage())


@pytest.mark.slow
def test_a_number_that_another_machine_took_first_is_not_promoted(checkout: Checkout, tmp_path: Path) -> None:
    share(checkout, tmp_path)
    other = clone(checkout, tmp_path / "other")
    with chdir(other.root):
        git(other.root, "remote", "set-url", "origin", "/nowhere.git")
        other.candidate(2)
        alone = outputs.read_json(verdicts.PATH)["attempt"]
        assert alone["number"] == 1
        assert "'origin' could not be reached" in alone["notes"][0]
        git(other.root, "remote", "set-url", "origin", str(tmp_path / "origin.git"))
    checkout.candidate(1)
    with chdir(other.root):
        with pytest.raises(ValueError, match=r"number 1 instead of 2.*entries of other machines precede it"):
            release.promote()
        other.candidate(2)
        assert outputs.read_json(verdicts.PATH)["attempt"]["number"] == 2
        assert release.promote().version == "v1.0.0"
        assert [number for _, number in kinds()] == [1, 1, 2]


@pytest.mark.slow
def test_the_list_is_told_to_people_and_programs(checkout: Checkout) -> None:
    assert "refs/longtail/ledger is missing" in longtail(checkout.root, "attempts").stdout
    judge(1)
    judge(2)
    table = longtail(checkout.root, "attempts").stdout
    assert table.count("PROMOTE") == 2
    entries = json.loads(longtail(checkout.root, "attempts", "--json").stdout)
    assert [entry["number"] for entry in entries] == [1, 2]
    assert datetime.fromisoformat(entries[0]["at"]) <= datetime.now(UTC)
