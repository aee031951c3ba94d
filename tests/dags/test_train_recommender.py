from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from tests.conftest import REPO

READ = """
import json, runpy, sys
dag = runpy.run_path(sys.argv[1])["dag"]
print(json.dumps({name: sorted(task.upstream_task_ids) for name, task in dag.task_dict.items()}))
"""


def upstream(home: Path) -> dict[str, list[str]]:
    """Task -> the tasks it waits for, as Airflow sees them without a database."""
    file = REPO / "dags" / "train_recommender.py"
    env = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    result = subprocess.run(
        [sys.executable, "-c", READ, str(file)], env=env, cwd=home, capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_there_is_a_task_per_stage_that_waits_for_the_stages_it_reads(tmp_path: Path) -> None:
    stages = YAML(typ="safe").load((REPO / "dvc.yaml").read_text("utf-8"))["stages"]
    tasks = upstream(tmp_path)
    assert set(tasks) == {*stages, "decide", "promote", "promote_nothing"}
    for name, stage in stages.items():
        read = {Path(dep).parts[1] for dep in stage["deps"] if dep.startswith("data/")}
        assert set(tasks[name]) == read


def test_nothing_is_promoted_before_the_bento_is_packaged_and_the_verdict_read(tmp_path: Path) -> None:
    tasks = upstream(tmp_path)
    assert tasks["decide"] == ["package"]
    assert tasks["promote"] == tasks["promote_nothing"] == ["decide"]
