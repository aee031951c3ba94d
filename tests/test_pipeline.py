"""The whole pipeline on a tiny demo in a temporary clone: promote, improve, refuse, roll back, pull."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clones import Clone

pytestmark = pytest.mark.slow

TINY: dict[str, dict[str, Any]] = {
    "ingest": {"demo.users": 500, "demo.items": 400, "demo.events": 15000, "demo.new_items": 20, "demo.dirty_rows": 30},
    "train": {"als.embedding_dim": 8, "als.epochs": 4},
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("pipeline") / "longtail")
    clone.params(TINY)  # an uncommitted edit, as a user's would be
    return clone


# The tests below are one story and run in this order.


def test_the_first_run_promotes_a_first_version(clone: Clone) -> None:
    before = clone.git("status", "--porcelain")
    printed = clone.longtail("run")
    verdict = clone.json("data/gate/verdict.json")
    assert verdict["verdict"] == "PROMOTE", printed
    assert "v1.0.0 serves now" in printed
    assert all(rule["name"] in printed for rule in verdict["rules"])
    assert "report.html" in printed
    assert clone.git("tag", "-l").split() == ["longtail#prod#1", "longtail@v1.0.0"]
    after = set(clone.git("status", "--porcelain").splitlines()) - set(before.splitlines())
    assert after == {"?? dvc.lock"}  # what dvc writes; nothing of ours


def test_dirty_rows_were_rejected_with_reasons(clone: Clone) -> None:
    counts = clone.json("data/ingest/summary.json")["interactions"]
    assert counts["read"] == 15030
    assert counts["accepted"] == 15000
    assert sum(counts["reasons"].values()) == counts["rejected"] == 30


def test_a_second_run_changes_nothing(clone: Clone) -> None:
    before = clone.modified()
    printed = clone.longtail("run")
    assert "nothing changed since the last run" in printed
    assert "v1.0.0 already serves this model" in printed
    after = clone.modified()
    assert {stage for stage in after if after[stage] != before[stage]} <= {"champion"}  # the one that always looks


def test_gto_itself_reads_the_registry(clone: Clone) -> None:
    assert "v1.0.0" in clone.run("gto", "show", "longtail")


def test_editing_the_gate_reruns_what_depends_on_it_alone(clone: Clone) -> None:
    before = clone.modified()
    clone.params({"gate": {"confidence": 0.94}})
    clone.dvc("repro")
    after = clone.modified()
    assert {stage for stage in after if after[stage] != before[stage]} == {"champion", "gate", "package"}
    assert "gate.confidence" in clone.dvc("params", "diff", "HEAD")


def test_a_better_candidate_replaces_the_champion(clone: Clone) -> None:
    clone.params({"train": {"als.embedding_dim": 32, "als.epochs": 12}})
    printed = clone.longtail("run")
    assert clone.json("data/champion/champion.json")["version"] == "v1.0.0"
    assert "v2.0.0 serves now, in place of v1.0.0" in printed


def test_stages_run_alone_promote_nothing(clone: Clone) -> None:
    """A worse model under the figures of the judged one, and settings that nothing was trained with."""
    before = (clone.root / "params.yaml").read_text()
    clone.params({"train": {"als.embedding_dim": 2, "als.epochs": 1}})
    clone.dvc("repro", "--single-item", "train")
    printed = clone.dvc("repro", "--single-item", "gate", status=255)
    assert "gate: error: data/champion was made from another data/train/model.safetensors: its sha256 was" in printed
    clone.longtail("promote", status=1)
    (clone.root / "params.yaml").write_text(before)
    clone.dvc("repro")  # the remedy
    clone.params({"train": {"als.epochs": 99}})
    printed = clone.dvc("repro", "--single-item", "gate", status=255)
    assert "gate: error: data/train was made with other settings than now: train; run `dvc repro`" in printed
    clone.longtail("promote", "--again", status=1)
    (clone.root / "params.yaml").write_text(before)
    assert clone.git("tag", "-l", "longtail@*").split() == ["longtail@v1.0.0", "longtail@v2.0.0"]


def test_what_dvc_was_told_to_take_for_up_to_date_is_made_again_by_the_named_command(clone: Clone) -> None:
    """A model that was trained by hand with settings of its own, and committed as if it had those of params.yaml."""
    before = (clone.root / "params.yaml").read_text()
    clone.params({"train": {"als.epochs": 1}})
    clone.run(sys.executable, "-m", "pipelines.train")
    (clone.root / "params.yaml").write_text(before)
    clone.dvc("commit", "--force", "train")
    printed = clone.dvc("repro", status=255)
    assert "gate: error: data/train was made with other settings than now: train; run `dvc repro`" in printed
    assert "or `dvc repro --force --downstream train` if that runs nothing" in printed
    clone.dvc("repro", "--force", "--downstream", "train")  # the remedy
    assert "rejects it" not in clone.longtail("status")


def test_a_worse_candidate_is_refused_and_the_run_is_no_failure(clone: Clone) -> None:
    clone.params({"train": {"als.embedding_dim": 2, "als.epochs": 1}})
    printed = clone.longtail("run")
    verdict = clone.json("data/gate/verdict.json")
    assert verdict["verdict"] == "REJECT"
    assert any(rule["decision"] == "fail" and rule["reference"] == "champion" for rule in verdict["rules"])
    assert "not promoted: the verdict is REJECT" in printed
    assert clone.json("data/package/bento.json")["built"] is False
    assert "v2.0.0" in clone.longtail("status")


def test_a_refused_candidate_cannot_be_promoted_by_hand(clone: Clone) -> None:
    printed = clone.longtail("promote", status=1)
    assert printed.startswith("longtail: error: the verdict is REJECT, not PROMOTE")
    assert len(printed.splitlines()) == 1


def test_a_corrupted_stage_output_stops_the_run_in_one_line(clone: Clone) -> None:
    path = clone.root / "data" / "evaluate" / "metrics.json"
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content.replace(b"0", b"1", 1))
    printed = clone.run(sys.executable, "-m", "pipelines.gate", status=1)
    assert "metrics.json is corrupted" in printed
    assert len(printed.splitlines()) == 1
    path.write_bytes(content)


def test_going_back_to_the_better_settings_computes_nothing(clone: Clone) -> None:
    """DVC's run cache restores the stages; the model that serves is judged against the one it replaced, as before."""
    clone.params({"train": {"als.embedding_dim": 32, "als.epochs": 12}})
    printed = clone.longtail("run")
    assert "v2.0.0 already serves this model" in printed
    assert "is cached - skipping run" in printed


def test_a_model_changed_after_the_verdict_is_refused(clone: Clone) -> None:
    path = clone.root / "data" / "train" / "model.safetensors"
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    printed = clone.longtail("promote", status=1)
    assert "model" in printed
    assert len(printed.splitlines()) == 1
    path.write_bytes(content)


def test_lineage_goes_back_to_data_settings_and_verdict(clone: Clone) -> None:
    printed = clone.longtail("lineage", "v2.0.0")
    verdict = clone.json("data/gate/verdict.json")
    assert verdict["digests"]["model"][:12] in printed
    assert "PROMOTE" in printed
    assert "train.als.embedding_dim" in printed


def test_rollback_needs_no_retraining_and_its_model_stays_away(clone: Clone) -> None:
    before = clone.modified()
    assert "v1.0.0 serves again, in place of v2.0.0" in clone.longtail("rollback")
    assert clone.modified() == before
    printed = clone.longtail("run")
    assert "rolled back" in printed
    assert "v1.0.0" in clone.longtail("status")
    assert "v3.0.0 serves now, in place of v1.0.0" in clone.longtail("promote", "--again")


def test_a_fresh_clone_pulls_the_champion_without_computing(clone: Clone, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    clone.dvc("remote", "add", "-d", "here", str(remote))
    clone.git("add", "-A")
    clone.commit("a run")
    assert "v1.0.0: complete" in clone.longtail("push")
    fresh = tmp_path / "fresh"
    clone.git("clone", "-q", str(clone.root), str(fresh))
    clone.dvc("pull", cwd=fresh)
    for name in ("train/model.safetensors", "package/longtail.tar", "gate/verdict.json"):
        assert (fresh / "data" / name).read_bytes() == (clone.root / "data" / name).read_bytes()
    printed = clone.run(sys.executable, "-m", "pipelines.cli.main", "status", cwd=fresh)
    assert "serves" in printed
    assert "ndcg@10" in clone.dvc("metrics", "show", cwd=fresh)


def test_a_folder_that_is_no_checkout_is_said_in_one_line(clone: Clone, tmp_path: Path) -> None:
    printed = clone.run(sys.executable, "-m", "pipelines.cli.main", "run", status=1, cwd=tmp_path)
    assert printed.startswith("longtail: error:")
    assert "git" in printed.lower()
    assert len(printed.splitlines()) == 1
