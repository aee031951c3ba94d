"""Train, judge, package and promote a recommender: one task per stage of `dvc.yaml`, run in this checkout."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task, yaml

CHECKOUT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    "DVC_NO_ANALYTICS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "GX_ANALYTICS_ENABLED": "false",
}


def stages() -> dict[str, set[str]]:
    """Stage -> the stages whose outputs it reads."""
    listed: dict[str, Any] = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text("utf-8"))["stages"]
    return {
        name: {
            other
            for other in listed
            for dep in stage["deps"]
            if other != name and (dep == f"data/{other}" or dep.startswith(f"data/{other}/"))
        }
        for name, stage in listed.items()
    }


def command(task_id: str, line: str) -> BashOperator:
    return BashOperator(task_id=task_id, bash_command=line, cwd=str(CHECKOUT), env=ENVIRONMENT, append_env=True)


with DAG(
    "train_recommender",
    schedule=None,
    catchup=False,
    max_active_runs=1,  # DVC lets one process at a time work in a checkout
    max_active_tasks=1,
    tags=["longtail"],
    doc_md=__doc__,
) as dag:

    @task.branch
    def decide() -> str:
        """promote where the gate's verdict is PROMOTE, else leave what serves alone."""
        verdict = json.loads((CHECKOUT / "data" / "gate" / "verdict.json").read_text("utf-8"))
        print(verdict["reason"])
        return "promote" if verdict["verdict"] == "PROMOTE" else "promote_nothing"

    tasks = {name: command(name, f"dvc repro --single-item {name}") for name in stages()}
    for name, upstream in stages().items():
        tasks[name].set_upstream([tasks[other] for other in sorted(upstream)])
    decision = decide()
    tasks["package"] >> decision >> [command("promote", "longtail promote"), EmptyOperator(task_id="promote_nothing")]
