"""The DAGs as Airflow parses them, without a database: they follow dvc.yaml and params.yaml."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from models.training.settings import FAMILIES
from pipelines.orchestration import form
from pipelines.workspace import runs
from tests.conftest import REPO, edit_params

pytestmark = pytest.mark.slow  # most tests read what an Airflow process makes of the DAGs

STAGES: dict[str, Any] = YAML(typ="safe").load((REPO / "dvc.yaml").read_text("utf-8"))["stages"]
ENDINGS = {"promote", "ask_for_approval", "promote_nothing", "hold", "reject"}


def parse(checkout: Path, home: Path, **environment: str) -> Any:
    env = {
        **os.environ,
        **environment,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(REPO),
    }
    script = REPO / "tests" / "dags" / "parsed.py"
    done = subprocess.run(
        [sys.executable, str(script), str(checkout / "dags")], env=env, cwd=home, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return parse(REPO, tmp_path_factory.mktemp("airflow"))


@pytest.fixture(scope="module")
def train(parsed: Any) -> Any:
    return parsed["dags"]["train_recommender"]


def short(task_id: str) -> str:
    return task_id.rpartition(".")[2]


def test_every_dag_is_read_without_an_error_and_without_our_packages(parsed: Any) -> None:
    assert parsed["errors"] == {}
    assert set(parsed["dags"]) == {"train_recommender", "approve_promotion", "rollback", "watch_source", "deploy"}
    assert parsed["imported"] == []


def test_there_is_a_task_per_stage_that_waits_for_the_stages_it_reads(train: Any) -> None:
    upstream = {short(name): {short(up) for up in task["upstream"]} for name, task in train["tasks"].items()}
    assert set(upstream) == {*STAGES, "prepare", "decide", "who_promotes", "clean_up", "outcome", *ENDINGS}
    for name, stage in STAGES.items():
        read = {Path(dep).parts[1] for dep in stage["deps"] if dep.startswith("data/")} - {"raw"}
        assert upstream[name] - {"prepare", "decide"} == read
    assert upstream["ingest"] == {"prepare"}


def test_a_new_stage_of_dvc_yaml_is_a_task_of_its_own(tmp_path: Path) -> None:
    for name in ("dags", "params.yaml"):
        copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
        copy(REPO / name, tmp_path / name)
    stages = {**STAGES, "audit": {"cmd": "true", "deps": ["data/gate/verdict.json"], "outs": ["data/audit"]}}
    with (tmp_path / "dvc.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"stages": stages}, file)
    edit_params(tmp_path / "params.yaml", "airflow", {"stages": {"train": {"queue": "gpu", "pool": "p", "timeout": 2}}})
    found = parse(tmp_path, tmp_path, LONGTAIL_AIRFLOW_STAGES="2")
    assert found["errors"] == {}
    tasks = found["dags"]["train_recommender"]["tasks"]
    assert tasks["audit"]["upstream"] == ["judgement.gate"]
    assert (tasks["model.train"]["queue"], tasks["model.train"]["pool"]) == ("gpu", "p")
    assert (tasks["model.embed"]["pool"], tasks["prepare"]["pool"]) == ("longtail-stages", "default_pool")
    assert tasks["model.train"]["timeout"] == 7200.0
    assert tasks["model.embed"]["queue"] == tasks["prepare"]["queue"] == "default"


def test_without_the_pool_of_airflow_up_stages_wait_for_none(train: Any) -> None:
    assert {task["pool"] for task in train["tasks"].values()} == {"default_pool"}


def test_nothing_is_promoted_before_verdict_and_bento_are_there(train: Any) -> None:
    tasks = train["tasks"]
    assert tasks["decide"]["upstream"] == ["judgement.gate"]
    assert "decide" in tasks["release.package"]["upstream"]
    assert tasks["release.who_promotes"]["upstream"] == ["release.package"]
    assert tasks["release.promote"]["upstream"] == ["release.who_promotes"]
    assert tasks["release.promote"]["outlets"] == ["longtail-promoted"]
    assert tasks["release.ask_for_approval"]["outlets"] == ["longtail-candidate"]
    for ending in ("hold", "reject"):
        assert tasks[ending]["upstream"] == ["decide"]  # outside the group: a row of the grid for each verdict


def test_the_worktree_is_removed_whatever_became_of_the_run_and_hides_no_failure(train: Any) -> None:
    assert train["tasks"]["clean_up"]["teardown"]
    assert {short(name) for name in train["tasks"]["clean_up"]["upstream"]} == {"decide", *ENDINGS}


def test_the_state_of_a_run_is_that_of_its_ends_and_its_outcome(parsed: Any) -> None:
    for name in ("train_recommender", "approve_promotion"):
        tasks = parsed["dags"][name]["tasks"]
        assert [task for task, about in tasks.items() if about["fails_run"]] == ["outcome"]
        assert tasks["outcome"]["teardown"]  # a run that is marked as failed does not skip it
        assert not any("outcome" in about["upstream"] for about in tasks.values())


def test_what_waits_for_a_person_blocks_no_other_run(parsed: Any) -> None:
    approve = parsed["dags"]["approve_promotion"]
    assert approve["max_active_runs"] >= 1000
    assert approve["tasks"]["approve"]["timeout"] is None


def test_each_candidate_is_a_question_of_its_own(parsed: Any) -> None:
    approve = parsed["dags"]["approve_promotion"]
    assert "NullTimetable" in approve["schedule"]  # events that come close together are one run
    assert parsed["dags"]["train_recommender"]["tasks"]["release.ask_for_approval"]["type"] == "AskForApproval"
    assert approve["params"]["run_id"]["schema"] == {"type": "string", "minLength": 1, "title": "Training run"}
    assert approve["params"]["run_id"]["value"] is None


def test_tasks_are_tried_again_as_params_yaml_says(parsed: Any) -> None:
    retries = YAML(typ="safe").load((REPO / "params.yaml").read_text("utf-8"))["airflow"]["retries"]
    assert {task["retries"] for dag in parsed["dags"].values() for task in dag["tasks"].values()} == {retries}


def test_the_form_shows_five_fields_and_folds_the_others(train: Any) -> None:
    plain = [name for name, field in train["params"].items() if "section" not in field["schema"]]
    assert plain == ["source", "tail_share", "gate", "promotion", "note"]
    for name, field in train["params"].items():
        assert field["description"], name
        assert not re.search(r"None|[\[\]']", field["description"]), name
        assert field["schema"]["type"], name
    titles = [field["schema"]["title"] for field in train["params"].values()]
    assert len(set(titles)) == len(titles)
    assert not any("." in title or "_" in title for title in titles)


def test_every_field_of_the_form_means_something_to_prepare(train: Any) -> None:
    params = (REPO / "params.yaml").read_text("utf-8")
    for name, field in train["params"].items():
        assert "." in name or name in form.FIELDS
        if "." in name:
            form.applied(params, {name: None})  # the key is there
        else:
            form.overrides({name: field["value"]})
    assert train["params"]["source"]["schema"]["enum"] == list(form.SOURCES)
    assert train["params"]["gate"]["schema"]["enum"] == list(form.GATES)
    assert train["params"]["promotion"]["schema"]["enum"] == list(form.PROMOTIONS)


def test_the_form_offers_every_family_of_models(train: Any) -> None:
    assert train["params"]["train.model"]["schema"]["enum"] == [None, *FAMILIES]


@pytest.mark.parametrize("run_id", ["a", "manual__2026-01-01T00:00:00+00:00_x", "../..", "é" * 300, "x.lock", "-"])
def test_tab_and_tasks_call_a_run_the_same(run_id: str) -> None:
    name = runs.Run(run_id, None).name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert 0 < len(name) < 100
    source = (REPO / "dags" / "longtail_tasks.py").read_text("utf-8")
    scope: dict[str, Any] = {}  # importing the file would bring Airflow into this process
    exec("import hashlib, re\n" + source[source.index("def name_of") :], scope)
    assert scope["name_of"](run_id) == name
