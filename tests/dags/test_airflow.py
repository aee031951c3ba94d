"""The DAGs on a real Airflow, in one story: trigger, promote, report, reject, approve, roll back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from pipelines._runs import Run
from tests.clones import Clone
from tests.dags.standalone import TRAIN, Airflow

pytestmark = pytest.mark.slow

WORSE = {"train.als.embedding_dim": 2, "train.als.epochs": 1}
BETTER = {"train.als.embedding_dim": 32, "train.als.epochs": 12}


def kept(clone: Clone, run_id: str, path: str) -> Any:
    return json.loads(clone.git("cat-file", "blob", f"{Run(run_id, None).ref}:run/{path}"))


def serving(clone: Clone) -> str:
    return clone.longtail("status").splitlines()[0].split()[1]


# The tests below are one story and run in this order.


def test_it_listens_on_loopback_alone_and_keeps_its_secrets_to_itself(clone: Clone, airflow: Airflow) -> None:
    listening = {c.laddr.ip for p in airflow.processes() for c in p.net_connections("inet") if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    for name in ("passwords.json", "jwt.secret", "airflow.cfg"):
        assert (airflow.home / name).stat().st_mode & 0o077 == 0
    assert "runs already" in clone.longtail("airflow", "up")
    assert "scheduler: healthy" in clone.longtail("airflow", "status")


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"tail_share": 2}, "maximum"),
        ({"source": "oracle"}, "is not one of"),
        ({"train.als.epochs": "many"}, "is not valid|is not of type"),
    ],
)
def test_a_wrong_field_is_refused_when_a_run_is_triggered(airflow: Airflow, conf: dict[str, Any], said: str) -> None:
    answer = airflow.call("POST", f"dags/{TRAIN}/dagRuns", {"logical_date": None, "conf": conf})
    assert answer.status_code == 400, answer.text
    assert any(words in answer.text for words in said.split("|"))


def test_an_override_that_no_stage_would_take_stops_the_run_before_the_first(airflow: Airflow) -> None:
    run_id = airflow.trigger(TRAIN, overrides={"train.als.cg_steps": 0})
    airflow.finish(TRAIN, run_id, "failed")
    tasks = airflow.tasks(TRAIN, run_id)
    assert (tasks["prepare"]["state"], tasks["prepare"]["try_number"]) == ("failed", 1)
    assert tasks["ingest"]["state"] == "upstream_failed"
    assert "train.als.cg_steps is 0" in airflow.log(TRAIN, run_id, "prepare")


def test_a_run_promotes_a_first_version_and_leaves_the_checkout_as_it_was(clone: Clone, airflow: Airflow) -> None:
    before = clone.git("status", "--porcelain")
    run_id = airflow.trigger(TRAIN, note="the first")
    run = airflow.finish(TRAIN, run_id)
    states = airflow.states(TRAIN, run_id)
    assert states["promote"] == states["clean_up"] == "success"
    assert states["hold"] == states["reject"] == states["ask_for_approval"] == "skipped"
    assert serving(clone) == "v1.0.0"
    assert clone.git("status", "--porcelain") == before
    assert not list((clone.root / ".longtail" / "runs").iterdir())
    verdict = kept(clone, run_id, "verdict.json")
    assert run["note"] == f"the first\n\nPROMOTE: {verdict['reason']}"
    log = airflow.log(TRAIN, run_id, "data.ingest")
    assert "15,030 rows read" in log
    assert "ingest: computed in " in log


def test_the_report_of_a_run_is_shown_to_who_is_signed_in_alone(clone: Clone, airflow: Airflow) -> None:
    run_id = airflow.latest(TRAIN)
    url = f"{airflow.url}/longtail/report"
    shown = airflow.session.get(url, params={"dag_id": TRAIN, "run_id": run_id})
    assert shown.text == clone.git("cat-file", "blob", f"{Run(run_id, None).ref}:run/report.html")
    with requests.Session() as stranger:
        stranger.trust_env = False
        for query in ({"run_id": run_id}, {"dag_id": TRAIN, "run_id": run_id}):
            assert stranger.get(url, params=query).status_code in (401, 403)
        stranger.headers["Authorization"] = "Bearer nonsense"
        assert stranger.get(url, params={"run_id": run_id}).status_code in (401, 403)
    links = airflow.get(f"dags/{TRAIN}/dagRuns/{run_id}/taskInstances/judgement.gate/links")
    assert links["extra_links"]["Gate report"].endswith("/plugin/gate-report")


def test_a_second_run_computes_nothing(clone: Clone, airflow: Airflow) -> None:
    run_id = airflow.trigger(TRAIN)
    airflow.finish(TRAIN, run_id)
    assert "from the cache" in airflow.log(TRAIN, run_id, "model.train")
    assert "v1.0.0 already serves this model" in airflow.log(TRAIN, run_id, "release.promote")


def test_a_worse_candidate_is_rejected_by_a_run_that_succeeds(clone: Clone, airflow: Airflow) -> None:
    run_id = airflow.trigger(TRAIN, **WORSE)
    run = airflow.finish(TRAIN, run_id)
    states = airflow.states(TRAIN, run_id)
    assert states["reject"] == "success"
    assert states["promote"] == states["package"] == "skipped"
    assert run["note"].startswith("REJECT: ")
    assert serving(clone) == "v1.0.0"


def test_a_person_may_reject_and_says_why(clone: Clone, airflow: Airflow) -> None:
    asked, run_id = ask(airflow)
    state = respond(airflow, asked, "Reject", "not before the holidays")
    assert state == {"describe": "success", "approve": "success", "promote": "skipped"}
    assert serving(clone) == "v1.0.0"
    decision = kept(clone, run_id, "decision.json")
    assert (decision["decision"], decision["by"], decision["why"]) == ("Reject", "admin", "not before the holidays")


def test_a_person_may_approve_while_other_runs_go_on(clone: Clone, airflow: Airflow) -> None:
    asked, run_id = ask(airflow)
    airflow.finish(TRAIN, airflow.trigger(TRAIN, **WORSE))
    assert respond(airflow, asked, "Approve", None)["promote"] == "success"
    assert serving(clone) == "v2.0.0"
    assert kept(clone, run_id, "decision.json")["decision"] == "Approve"
    events = airflow.get("assets/events?limit=100")["asset_events"]
    promoted = [event["extra"] for event in events if event["name"] == "longtail-promoted"]
    assert [extra["version"] for extra in promoted].count("v2.0.0") == 1
    assert promoted[-1]["digests"]["model"]


def ask(airflow: Airflow) -> tuple[str, str]:
    """Run a better candidate that a person has to approve: (the run that asks, the run that trained)."""
    before = airflow.get("dags/approve_promotion/dagRuns")["total_entries"]
    run_id = airflow.trigger(TRAIN, promotion="manual", **BETTER)
    airflow.finish(TRAIN, run_id)
    assert airflow.states(TRAIN, run_id)["promote"] == "skipped"
    asked = airflow.latest("approve_promotion", after=before)
    airflow.reach("approve_promotion", asked, "approve", "awaiting_input")
    path = f"dags/approve_promotion/dagRuns/{asked}/taskInstances/approve/-1/hitlDetails"
    body = airflow.get(path)["body"]
    assert "| beats popularity | ndcg@10 |" in body
    return asked, run_id


def respond(airflow: Airflow, asked: str, option: str, reason: str | None) -> dict[str, str]:
    path = f"dags/approve_promotion/dagRuns/{asked}/taskInstances/approve/-1/hitlDetails"
    answer = airflow.call("PATCH", path, {"chosen_options": [option], "params_input": {"reason": reason}})
    assert answer.ok, answer.text
    airflow.finish("approve_promotion", asked)
    states = airflow.states("approve_promotion", asked)
    return {name: states[name] for name in ("describe", "approve", "promote")}


def test_a_rollback_asks_the_old_bento_first(clone: Clone, airflow: Airflow) -> None:
    run_id = airflow.trigger("rollback", reason="complaints")
    airflow.finish("rollback", run_id)
    assert "v1.0.0 answers as it did when it was built" in airflow.log("rollback", run_id, "smoke_test")
    assert serving(clone) == "v1.0.0"
    wrong = airflow.call("POST", "dags/rollback/dagRuns", {"logical_date": None, "conf": {"version": "latest"}})
    assert wrong.status_code == 400
    unknown = airflow.trigger("rollback", version="v9.0.0")
    airflow.finish("rollback", unknown, "failed")
    assert "'v9.0.0' is not registered" in airflow.log("rollback", unknown, "choose")
