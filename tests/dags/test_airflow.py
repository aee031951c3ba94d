"""The DAGs on a real Airflow, in one story: trigger, promote, ask, hold, reject, deploy, roll back, watch for data."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from pipelines.bentos import smoke
from pipelines.workspace.runs import Run
from tests.clones import Clone
from tests.conftest import REPO
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
    assert "already runs" in clone.longtail("airflow", "up")
    status = clone.longtail("airflow", "status")
    for part in ("metadatabase", "scheduler", "dag_processor", "triggerer"):
        assert f"{part}: healthy" in status  # as the start page of Airflow shows them


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
    run = airflow.finish(TRAIN, run_id, "failed")
    assert run["note"].startswith("FAILED at prepare: the run's params.yaml: train.als.cg_steps is 0")
    tasks = airflow.tasks(TRAIN, run_id)
    assert (tasks["prepare"]["state"], tasks["prepare"]["try_number"]) == ("failed", 1)
    assert tasks["ingest"]["state"] == "upstream_failed"
    lines = airflow.get(f"dags/{TRAIN}/dagRuns/{quote(run_id)}/taskInstances/prepare/logs/1")["content"]
    errors = [line for line in lines if line.get("level") == "error"]
    assert "train.als.cg_steps is 0" in errors[0]["event"]
    assert not any("error_detail" in line for line in lines)  # a stack of Airflow's own would explain nothing


def calls_of_the_documentation(airflow: Airflow) -> list[str]:
    """The commands that the documentation shows under "By REST": set-up in two lines, trigger, poll, report."""
    page = (REPO / "docs/airflow.md").read_text("utf-8")
    block = re.search(r"^## By REST$.*?```console\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    text = block[1].replace("http://127.0.0.1:8080", airflow.url).replace("PASSWORD", airflow.password)
    address, token, *calls = (command.strip() for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:])
    assert len(calls) == 3
    return [f"{address}\n{token}\n{call}" for call in calls]


def test_the_calls_of_the_documentation_promote_a_first_version_and_leave_the_checkout_as_it_was(
    clone: Clone, airflow: Airflow, tmp_path: Path
) -> None:
    before = clone.git("status", "--porcelain")
    trigger, poll, report = calls_of_the_documentation(airflow)
    run_id = json.loads(clone.run("bash", "-c", trigger))["dag_run_id"]
    airflow.finish(TRAIN, run_id)
    run = json.loads(clone.run("bash", "-c", poll))
    verdict = kept(clone, run_id, "verdict.json")
    assert (run["state"], run["note"]) == (
        "success",
        f"PROMOTE: {verdict['reason']} v1.0.0 serves now, as the first version.\n\nthe first",
    )
    clone.run("bash", "-c", report, cwd=tmp_path)
    assert "<html" in (tmp_path / "report.html").read_text()

    states = airflow.states(TRAIN, run_id)
    assert states["promote"] == states["clean_up"] == "success"
    assert states["hold"] == states["reject"] == states["ask_for_approval"] == "skipped"
    assert serving(clone) == "v1.0.0"
    assert clone.git("status", "--porcelain") == before
    assert not list((clone.root / ".longtail" / "runs").iterdir())
    log = airflow.log(TRAIN, run_id, "data.ingest")
    assert "15,030 rows read" in log
    assert "ingest: computed in " in log


def test_the_report_of_a_run_is_shown_to_who_is_signed_in_alone(clone: Clone, airflow: Airflow) -> None:
    run_id = airflow.latest(TRAIN)
    url = f"{airflow.url}/longtail/report"
    shown = airflow.session.get(url, params={"dag_id": TRAIN, "run_id": run_id})
    assert shown.text == clone.git("cat-file", "blob", f"{Run(run_id, None).ref}:run/report.html")
    missing = airflow.session.get(url, params={"dag_id": TRAIN, "run_id": "nobody"})
    assert (missing.status_code, "has no report" in missing.text) == (404, True)
    verdicts = f"{airflow.url}/longtail/verdicts"
    listed = airflow.session.get(verdicts).text
    for words in ("PROMOTE</a>", run_id, "the first"):
        assert words in listed
    with requests.Session() as stranger:
        stranger.trust_env = False
        assert stranger.get(verdicts).status_code in (401, 403)
        for query in ({"run_id": run_id}, {"dag_id": TRAIN, "run_id": run_id}):
            assert stranger.get(url, params=query).status_code in (401, 403)
        stranger.headers["Authorization"] = "Bearer nonsense"
        assert stranger.get(url, params={"run_id": run_id}).status_code in (401, 403)
    links = airflow.get(f"dags/{TRAIN}/dagRuns/{run_id}/taskInstances/judgement.gate/links")
    assert links["extra_links"]["Gate report"].endswith("/plugin/gate-report")


def test_two_candidates_of_a_time_when_nobody_was_asked_are_two_questions_and_a_person_rejects_one(
    clone: Clone, airflow: Airflow
) -> None:
    switch(airflow, "approve_promotion", on=False)
    first = airflow.trigger(TRAIN, promotion="manual", **BETTER)
    second = airflow.trigger(TRAIN, promotion="manual", **BETTER, **{"train.seed": 7})
    for run_id in (first, second):
        airflow.finish(TRAIN, run_id)
        assert airflow.states(TRAIN, run_id)["promote"] == "skipped"
    switch(airflow, "approve_promotion")
    for run_id in (first, second):
        assert "| beats popularity (ndcg@10) |" in question(airflow, run_id)
    assert airflow.get("dags/approve_promotion/dagRuns")["total_entries"] == 2

    state = respond(airflow, second, "Reject", "not before the holidays")
    assert state == {"describe": "success", "approve": "success", "promote": "skipped"}
    assert airflow.run("approve_promotion", second)["note"] == "REJECTED by admin: not before the holidays."
    assert serving(clone) == "v1.0.0"
    decision = kept(clone, second, "decision.json")
    assert (decision["decision"], decision["by"], decision["why"]) == ("Reject", "admin", "not before the holidays")

    body = {"dag_run_id": second, "task_ids": ["release.ask_for_approval"], "only_failed": False, "dry_run": False}
    assert airflow.call("POST", f"dags/{TRAIN}/clearTaskInstances", body).ok
    airflow.finish(TRAIN, second)
    airflow.reach("approve_promotion", second, "describe", "skipped")  # not asked again on its own
    assert airflow.get("dags/approve_promotion/dagRuns")["total_entries"] == 2


def test_a_person_may_approve_later_while_other_runs_go_on_and_a_server_is_deployed(
    clone: Clone, airflow: Airflow
) -> None:
    run_id = airflow.latest(TRAIN)
    switch(airflow, "deploy")
    asked = airflow.trigger("approve_promotion", run_id=run_id)
    question(airflow, asked)
    confs: list[dict[str, Any]] = [
        WORSE,
        {**BETTER, "overrides": {"gate.confidence": 1 - 1e-11}},
        {**BETTER, "promotion": "never"},
    ]
    worse, undecided, unwanted = [airflow.trigger(TRAIN, **conf) for conf in confs]

    run = airflow.finish(TRAIN, worse)
    states = airflow.states(TRAIN, worse)
    assert states["reject"] == "success"
    assert states["promote"] == states["package"] == states["hold"] == "skipped"
    assert run["note"].startswith("REJECT: ")

    run = airflow.finish(TRAIN, undecided)
    states = airflow.states(TRAIN, undecided)
    assert states["hold"] == "success"
    assert states["promote"] == states["package"] == states["reject"] == "skipped"
    assert run["note"].startswith("HOLD: ")

    run = airflow.finish(TRAIN, unwanted)
    states = airflow.states(TRAIN, unwanted)
    assert states["promote_nothing"] == states["package"] == "success"
    assert states["promote"] == states["ask_for_approval"] == "skipped"
    assert run["note"].startswith("PROMOTE: ")
    for task in ("data.ingest", "model.train", "judgement.evaluate", "release.package"):
        assert "from the cache in " in airflow.log(TRAIN, unwanted, task)

    for stopped, verdict in {worse: "REJECT", undecided: "HOLD"}.items():
        refused = airflow.trigger("approve_promotion", run_id=stopped)
        airflow.finish("approve_promotion", refused, "failed")
        assert f"has the verdict {verdict}, not PROMOTE" in airflow.log("approve_promotion", refused, "describe")
        states = airflow.states("approve_promotion", refused)
        assert states["approve"] == states["promote"] == "upstream_failed"
        assert states["record"] == states["clean_up"] == "skipped"
        note = airflow.run("approve_promotion", refused)["note"]
        assert note.startswith(f"FAILED at describe: the run '{stopped.split('+')[0]}")

    assert serving(clone) == "v1.0.0"
    assert respond(airflow, asked, "Approve", "it is time")["promote"] == "success"
    assert serving(clone) == "v2.0.0"
    assert "promote v2.0.0 in place of v1.0.0, approved by admin: it is time" in clone.longtail("status")
    assert f"trained by the run {run_id}" in clone.longtail("lineage")
    assert kept(clone, run_id, "decision.json")["decision"] == "Approve"
    events = airflow.get("assets/events?limit=100")["asset_events"]
    promoted = [event["extra"] for event in events if event["name"] == "longtail-promoted"]
    assert [extra["version"] for extra in promoted].count("v2.0.0") == 1
    assert promoted[-1]["digests"]["model"]

    # the clock starts a run as well: when the DAG is switched on, and every hour
    airflow.until(lambda: True if answering(clone) == promoted[-1]["bento"] else None)
    notes = "v2.0.0 answers at http"
    airflow.until(lambda: next((run for run in deployments(airflow) if notes in (run["note"] or "")), None))


def test_a_candidate_that_was_overtaken_or_promoted_is_not_asked_about(airflow: Airflow) -> None:
    logs = []
    for first_asked in airflow.get("dags/approve_promotion/dagRuns?order_by=run_after&limit=2")["dag_runs"]:
        asked = airflow.trigger("approve_promotion", run_id=first_asked["dag_run_id"])
        airflow.finish("approve_promotion", asked)
        states = airflow.states("approve_promotion", asked)
        assert states.pop("outcome") == "success"
        assert set(states.values()) == {"skipped"}
        assert airflow.run("approve_promotion", asked)["note"].startswith("SKIPPED: the candidate was ")
        logs.append(airflow.log("approve_promotion", asked, "describe"))
    for why in ("v2.0.0 serves now", "it is v2.0.0"):  # of the two, in the order in which their trainings ended
        assert sum(why in log for log in logs) == 1
    missing = airflow.call("POST", "dags/approve_promotion/dagRuns", {"logical_date": None, "conf": {}})
    assert missing.status_code == 400, missing.text


def switch(airflow: Airflow, dag: str, *, on: bool = True) -> None:
    assert airflow.call("PATCH", f"dags/{dag}", {"is_paused": not on}).ok


def deployments(airflow: Airflow) -> list[Any]:
    found: list[Any] = airflow.get("dags/deploy/dagRuns?order_by=-run_after&limit=100")["dag_runs"]
    return found


def answering(clone: Clone) -> str:
    """Tag that the deployed server answers with."""
    port = json.loads((clone.root / ".longtail" / "deployment" / "server.json").read_text())["port"]
    tag: str = smoke.post(f"http://127.0.0.1:{port}", "recommend", {"user_id": "00001", "k": 1})["model"]
    return tag


def question(airflow: Airflow, asked: str) -> str:
    """Return the question of a run of approve_promotion, once the run waits for the answer."""
    airflow.reach("approve_promotion", asked, "approve", "awaiting_input")
    # an answer before the scheduler has seen the worker end is lost: Airflow takes the resumed task for a killed one
    ended = re.compile(rf"executor event with state success .*task_id='approve', run_id='{re.escape(asked)}'")
    log = airflow.clone.root / ".longtail/airflow/airflow.log"
    airflow.until(lambda: ended.search(log.read_text("utf-8", "replace")))
    path = f"dags/approve_promotion/dagRuns/{quote(asked)}/taskInstances/approve/-1/hitlDetails"
    body: str = airflow.get(path)["body"]
    return body


def respond(airflow: Airflow, asked: str, option: str, reason: str | None) -> dict[str, str]:
    path = f"dags/approve_promotion/dagRuns/{quote(asked)}/taskInstances/approve/-1/hitlDetails"
    answer = airflow.call("PATCH", path, {"chosen_options": [option], "params_input": {"reason": reason}})
    assert answer.ok, answer.text
    airflow.finish("approve_promotion", asked)
    states = airflow.states("approve_promotion", asked)
    return {name: states[name] for name in ("describe", "approve", "promote")}


def test_a_rollback_asks_the_old_bento_first_and_the_server_follows(clone: Clone, airflow: Airflow) -> None:
    new = answering(clone)
    run_id = airflow.trigger("rollback", reason="complaints")
    airflow.finish("rollback", run_id)
    assert "v1.0.0 gives the same answers as when it was built" in airflow.log("rollback", run_id, "smoke_test")
    assert serving(clone) == "v1.0.0"
    assert "rollback from v2.0.0 to v1.0.0, by admin: complaints" in clone.longtail("status")
    wrong = airflow.call("POST", "dags/rollback/dagRuns", {"logical_date": None, "conf": {"version": "latest"}})
    assert wrong.status_code == 400
    unknown = airflow.trigger("rollback", version="v9.0.0")
    airflow.finish("rollback", unknown, "failed")
    assert "'v9.0.0' is not registered" in airflow.log("rollback", unknown, "choose")

    airflow.until(lambda: True if answering(clone) != new else None)
    assert "`longtail serve`, started by the DAG `deploy`, keeps running" in clone.longtail("airflow", "status")


@pytest.fixture
def table(clone: Clone) -> Iterator[Path]:
    """A file of events, in a folder outside the checkout that the settings name as the source."""
    settings, events = clone.root / "params.yaml", clone.root.parent / "mydata" / "events.csv"
    before = settings.read_text("utf-8")
    events.parent.mkdir()
    clone.params({"ingest": {"source": "table", "path": "../mydata", "table.interactions": ["events.csv"]}})
    yield events
    settings.write_text(before, "utf-8")
    shutil.rmtree(events.parent)


def test_new_data_are_versioned_and_start_a_training_on_that_version_until_it_is_judged(
    clone: Clone, airflow: Airflow, table: Path
) -> None:
    for n_rows in (310, 311):
        rows = (f"u{i % 37},i{i * i % 53}" for i in range(n_rows))
        table.write_text("\n".join(["user_id,item_id", *rows, ""]))
        before = trainings(airflow)
        found = look(airflow, "success")
        assert "refs/longtail/source has data/raw/mydata.dvc" in airflow.log("watch_source", found, "look")
        run_id = airflow.latest(TRAIN, after=before)
        airflow.reach(TRAIN, run_id, "ingest", "success")
        assert airflow.run(TRAIN, run_id)["run_type"] == "asset_triggered"
        assert f"{n_rows} rows read" in airflow.log(TRAIN, run_id, "data.ingest")
        airflow.call("PATCH", f"dags/{TRAIN}/dagRuns/{run_id}", {"state": "failed"})
        assert airflow.finish(TRAIN, run_id, "failed")["note"].startswith("FAILED")
        assert airflow.states(TRAIN, run_id)["clean_up"] == "success"
    for n_failed in (1, 2):
        before = trainings(airflow)
        found = look(airflow, "success")
        log = airflow.log("watch_source", found, "look")
        assert f"{n_failed} of 3 runs failed, the last one, {run_id}" in log
        run_id = airflow.latest(TRAIN, after=before)
        run = airflow.finish(TRAIN, run_id, "failed")  # too few rows
        assert run["note"].startswith("FAILED at validate: ")
        assert 'read the tab "Gate report" of this run' in run["note"]
        shown = airflow.session.get(f"{airflow.url}/longtail/report", params={"dag_id": TRAIN, "run_id": run_id})
        assert (shown.status_code, "few_interactions" in shown.text) == (200, True)
    assert kept(clone, run_id, "run.json")["data"]["commit"] == clone.git("rev-parse", "refs/longtail/source").strip()
    log = airflow.log("watch_source", look(airflow, "skipped"), "look")
    assert "no change at ../mydata; version " in log
    assert f"3 of 3 runs failed, the last one, {run_id}, at validate: validate: error: " in log
    assert "trigger watch_source by hand" in log


def trainings(airflow: Airflow) -> int:
    total: int = airflow.get(f"dags/{TRAIN}/dagRuns?limit=1")["total_entries"]
    return total


def look(airflow: Airflow, state: str) -> str:
    run_id = airflow.trigger("watch_source")
    airflow.finish("watch_source", run_id)
    assert airflow.states("watch_source", run_id) == {"look": state}
    return run_id
