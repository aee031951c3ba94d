"""Candidates that wait for a person: who is asked about, and who is not any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.orchestration import approval_tasks, run_tasks
from pipelines.release import release
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
    run.add(lambda tip: {runs.VERDICT: VERDICT.read_bytes()}, f"gate of {run_id}")
    return run


def asked(run_id: str, *, by_hand: bool = False) -> dict[str, Any]:
    return approval_tasks.describe(run_id, by_hand)


def test_a_candidate_is_asked_about_with_its_rules(checkout: Checkout) -> None:
    judged(checkout, "r", 1)
    found = asked("r")
    assert found["run_id"] == "r"
    assert "**PROMOTE**" in found["body"]
    assert "| beats popularity (ndcg@10) |" in found["body"]


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
    with pytest.raises(ValueError, match="the run 'r' was not prepared"):
        asked("r", by_hand=True)


def test_a_run_without_a_verdict_cannot_be_approved(checkout: Checkout) -> None:
    run_tasks.prepare("r", {}, {}, "r")
    with pytest.raises(ValueError, match="has no verdict yet"):
        asked("r", by_hand=True)
