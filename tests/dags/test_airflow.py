"""The DAGs on a real Airflow, in one story: trigger, promote, report, approve, reject, roll back, interrupt, race."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from pipelines._runs import Run
from tests.clones import Clone
from tests.dags.standalone import TRAIN, Airflow, standalone
from tests.test_pipeline import TINY

pytestmark = pytest.mark.slow

WORSE = {"train.als.embedding_dim": 2, "train.als.epochs": 1}
BETTER = {"train.als.embedding_dim": 32, "train.als.epochs": 12}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("airflow") / "longtail")
    clone.params({**TINY, "airflow": {"retry_delay": 1}})
    return clone


@pytest.fixture(scope="module")
def airflow(clone: Clone) -> Iterator[Airflow]:
    with standalone(clone) as started:
        yield started


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


def environ(process: psutil.Process) -> dict[str, str]:
    try:
        found: dict[str, str] = process.environ()
    except psutil.Error:
        return {}
    return found


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


def working_in(clone: Clone) -> list[psutil.Process]:
    """Processes of stages that work in a run's worktree."""
    return [p for p in psutil.process_iter() if str(clone.root) in environ(p).get("LONGTAIL_WORKSPACE", "")]


def training(airflow: Airflow, seed: int) -> str:
    """A run that is in the middle of training a model nobody has trained before."""
    run_id = airflow.trigger(TRAIN, **{"train.seed": seed, "train.als.epochs": 400})
    airflow.reach(TRAIN, run_id, "train", "running")
    airflow.until(lambda: working_in(airflow.clone) or None)
    return run_id


def test_marking_a_task_failed_ends_its_stage_within_seconds(clone: Clone, airflow: Airflow) -> None:
    run_id = training(airflow, 1)
    path = f"dags/{TRAIN}/dagRuns/{run_id}/taskInstances/model.train"
    assert airflow.call("PATCH", path, {"new_state": "failed"}).ok
    marked = time.monotonic()
    airflow.until(lambda: True if not working_in(clone) else None)
    print(f"ended {time.monotonic() - marked:.1f} s after it was marked failed")
    airflow.finish(TRAIN, run_id, "failed")
    assert not list((clone.root / ".longtail" / "runs").iterdir())


def test_a_killed_supervisor_takes_its_stage_along_and_the_retry_goes_on(clone: Clone, airflow: Airflow) -> None:
    run_id = training(airflow, 2)
    (stage,) = [p for p in working_in(clone) if "pipelines.train" in p.cmdline()]
    task = next(p for p in stage.parents() if "pipelines._airflow_task" in p.cmdline())
    supervisor = task.parent().parent()
    supervisor.kill()
    airflow.until(lambda: True if not stage.is_running() else None)
    airflow.until(lambda: True if not task.is_running() else None)
    again = airflow.until(lambda: found if (found := airflow.tasks(TRAIN, run_id)["train"])["try_number"] > 1 else None)
    assert again["try_number"] == 2
    airflow.until(lambda: working_in(clone) or None)
    assert len([p for p in working_in(clone) if "pipelines.train" in p.cmdline()]) == 1
    airflow.call("PATCH", f"dags/{TRAIN}/dagRuns/{run_id}", {"state": "failed"})
    airflow.until(lambda: True if not working_in(clone) else None)


def test_a_killed_scheduler_is_started_again_and_its_run_finishes(clone: Clone, airflow: Airflow) -> None:
    run_id = airflow.trigger(TRAIN, **WORSE)
    airflow.reach(TRAIN, run_id, "ingest", "running")
    scheduler = next(p for p in airflow.processes() if "scheduler" in p.cmdline())
    os.kill(scheduler.pid, signal.SIGKILL)
    airflow.finish(TRAIN, run_id)
    assert airflow.states(TRAIN, run_id)["reject"] == "success"


def test_three_runs_at_once_finish_and_their_promotions_follow_each_other(clone: Clone, airflow: Airflow) -> None:
    runs = [airflow.trigger(TRAIN, **{"train.als.epochs": 12, "train.als.embedding_dim": d}) for d in (24, 28, 36)]
    for run_id in runs:
        airflow.finish(TRAIN, run_id)
    history = clone.git("tag", "-l", "longtail#prod#*").splitlines()
    assert len(history) == len({clone.git("rev-parse", f"{tag}^{{}}") for tag in history}) + 1  # one rollback
    printed = clone.longtail("status")
    assert "serving" in printed


def test_a_standalone_that_was_killed_starts_again_and_blocks_nothing(clone: Clone, airflow: Airflow) -> None:
    run_id = training(airflow, 3)
    record = json.loads((airflow.home / "running.json").read_text())
    os.killpg(record["pid"], signal.SIGKILL)
    printed = clone.longtail("airflow", "up", "--port", airflow.url.rpartition(":")[2])
    assert "sign in as" in printed
    assert not [
        p for p in working_in(clone) if "pipelines.train" in p.cmdline() and p.create_time() < record["started"]
    ]
    airflow.until(lambda: True if airflow.call("GET", f"dags/{TRAIN}").ok else None)
    airflow.call("PATCH", f"dags/{TRAIN}/dagRuns/{run_id}", {"state": "failed"})
    airflow.finish(TRAIN, airflow.trigger(TRAIN, **WORSE))


def test_down_leaves_no_process_behind(clone: Clone, airflow: Airflow) -> None:
    processes = airflow.processes()
    assert len(processes) > 3
    assert "Airflow is stopped" in clone.longtail("airflow", "down")
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert "does not run" in clone.longtail("airflow", "status")


def test_new_files_are_told_of_by_the_watching_task(clone: Clone) -> None:
    Path(clone.root, "data/raw/events.csv").write_text("user_id,item_id\n1,2\n")
    clone.params({"ingest": {"source": "table"}})
    printed = clone.run("python", "-m", "pipelines._airflow_task", "look", '{"attempt": 1}')
    assert "new data at data/raw" in printed
