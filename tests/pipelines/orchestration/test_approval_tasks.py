"""Candidates that wait for a person: who is asked about, and who is not any more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.orchestration import approval_tasks, run_tasks
from pipelines.release import lineage, release
from pipelines.workspace import git, runs
from tests.pipelines.releases import Checkout

pytestmark = pytest.mark.slow  # Git and DVC for real

VERDICT = Path("data/gate/verdict.json")
NO = {"chosen_options": ["Reject"], "params_input": {"reason": "too few"}, "responded_at": "now"}


def judged(checkout: Checkout, run_id: str, seed: int, verdict: str = "PROMOTE") -> runs.Run:
    """A run whose candidate has the model `seed`."""
    run_tasks.prepare(run_id, {}, {}, run_id)
    checkout.candidate(seed, verdict=verdict)
    run = runs.named(run_id)
    files = {runs.VERDICT: VERDICT.read_bytes(), runs.LOCK: Path(runs.LOCK).read_bytes()}
    run.add(lambda tip: files, f"gate of {run_id}")
    return run


def asked(run_id: str, *, by_hand: bool = False) -> dict[str, Any]:
    return approval_tasks.describe(run_id, by_hand)


def test_a_candidate_is_asked_about_with_its_rules(checkout: Checkout) -> None:
    judged(checkout, "r", 1)
    found = asked("r")
    assert found["run_id"] == "r"
    assert found["body"].startswith(
        "**Approve**: v1.0.0 serves, as the first version. \n**Reject**: nothing serves yet. "
        "[Gate report](/dags/train_recommender/runs/r/plugin/gate-report)\n"
    )
    assert "\n**PROMOTE**: " in found["body"]
    head = next(line for line in found["body"].splitlines() if line.startswith("| "))
    assert head == "| rule | value | reference | gain (+ is better) and interval | decision |"
    assert "| beats popularity (ndcg@10) |" in found["body"]


def test_the_question_names_what_is_replaced_what_is_lost_and_the_note_of_the_run(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    run_tasks.prepare("r", {"note": "for the *holidays*"}, {}, "r")
    checkout.candidate(2)
    run = runs.named("r")
    verdict = json.loads(VERDICT.read_bytes())
    lost = {"text": "30 of 300 items are gone (10 %, at most 20 % allowed)"}
    run.add(lambda tip: {runs.VERDICT: json.dumps(verdict | {"changes": [lost]}).encode()}, "gate of r")
    body = asked("r")["body"]
    assert "**Approve**: v2.0.0 serves, in place of v1.0.0." in body
    assert "**Reject**: v1.0.0 stays." in body
    assert r"Note of the run: for the \*holidays\*" in body
    assert "- Since v1.0.0, 30 of 300 items are gone (10 %, at most 20 % allowed)." in body
    run.add(lambda tip: {runs.VERDICT: json.dumps(verdict | {"changes": []}).encode()}, "gate of r")
    assert "- No item, user or source of v1.0.0 is missing." in asked("r")["body"]


def test_a_candidate_whose_data_is_lost_is_not_asked_about(checkout: Checkout) -> None:
    judged(checkout, "r", 1)
    shutil.rmtree(".dvc/cache")
    with pytest.raises(
        ValueError, match=r"cannot be promoted: neither DVC's cache nor its remote has data/\w+ and \d+ more"
    ):
        asked("r")


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("verdict", ["HOLD", "REJECT"])
def test_a_candidate_that_the_gate_stopped_is_never_asked_about(
    checkout: Checkout, verdict: str, by_hand: bool
) -> None:
    judged(checkout, "r", 1, verdict)
    with pytest.raises(ValueError, match=f"the run 'r' has the verdict {verdict}, not PROMOTE: the hand-made verdict"):
        asked("r", by_hand=by_hand)


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_candidate_that_was_overtaken_is_not_asked_about(checkout: Checkout, by_hand: bool) -> None:
    judged(checkout, "first", 1)
    judged(checkout, "second", 2)
    checkout.promote()
    assert asked("first", by_hand=by_hand)["skip"] == (
        "the candidate was overtaken: it was compared with no champion, and v1.0.0 serves now; "
        "trigger train_recommender to compare again"
    )


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_candidate_that_was_promoted_is_not_asked_about_again(checkout: Checkout, by_hand: bool) -> None:
    for seed in (1, 2):
        judged(checkout, f"r{seed}", seed)
        checkout.promote()
    assert asked("r2", by_hand=by_hand)["skip"] == "the candidate was promoted: it is v2.0.0"
    release.rollback()
    assert asked("r2", by_hand=by_hand)["skip"] == "the candidate was promoted: it is v2.0.0"


def test_status_lists_the_candidates_that_can_still_be_approved(checkout: Checkout) -> None:
    run = judged(checkout, "r", 1)
    judged(checkout, "held", 2, "HOLD")
    told = "waiting    the run r has the verdict PROMOTE; trigger approve_promotion with it to decide"
    assert [line for line in lineage.status() if line.startswith("waiting")] == [told]
    approval_tasks.record("r", {**NO, "responded_by_user": {"id": "1", "name": "Ada"}})
    assert told not in lineage.status()
    run.add(lambda tip: {runs.DECISION: b"{}"}, "asked again")
    assert told in lineage.status()
    judged(checkout, "other", 3)
    checkout.promote()
    assert not any(line.startswith("waiting") for line in lineage.status())  # overtaken


def test_an_answered_question_is_asked_again_by_hand_alone(checkout: Checkout) -> None:
    run = judged(checkout, "r", 1)
    approval_tasks.record("r", {**NO, "responded_by_user": {"id": "1", "name": "Ada"}})
    assert asked("r")["skip"] == ("Ada has decided Reject: too few; trigger approve_promotion by hand to decide again")
    assert "body" in asked("r", by_hand=True)
    run.add(lambda tip: {runs.VERDICT: VERDICT.read_bytes() + b"\n"}, "gate of r")  # judged again
    assert "body" in asked("r")


def test_a_discarded_candidate_is_not_asked_about_and_an_unknown_one_is_an_error(checkout: Checkout) -> None:
    run = judged(checkout, "r", 1)
    git.git("update-ref", "-d", run.ref)
    assert asked("r")["skip"] == "refs/longtail/runs/r no longer exists: the candidate was discarded"
    with pytest.raises(
        ValueError, match="there is no training run 'r', or its candidate was discarded; expected the id"
    ):
        asked("r", by_hand=True)


def test_a_run_without_a_verdict_cannot_be_approved(checkout: Checkout) -> None:
    run_tasks.prepare("r", {}, {}, "r")
    with pytest.raises(ValueError, match="has no verdict yet"):
        asked("r", by_hand=True)
