"""Prints, as JSON, what Airflow makes of a folder of DAGs, without a database: run as a script."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import airflow.sdk  # what any Airflow process has imported before it parses
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization


def described(dag: airflow.sdk.DAG) -> dict[str, Any]:
    DagSerialization.to_dict(dag)  # as the database would keep it
    return {
        "schedule": str(dag.timetable),
        "max_active_runs": dag.max_active_runs,
        "params": {name: dag.params.get_param(name).serialize() for name in dag.params},
        "tasks": {
            task.task_id: {
                "upstream": sorted(task.upstream_task_ids),
                "type": task.task_type,
                "teardown": task.is_teardown,
                "fails_run": task.on_failure_fail_dagrun,
                "retries": task.retries,
                "queue": task.queue,
                "pool": task.pool,
                "timeout": task.execution_timeout.total_seconds() if task.execution_timeout else None,
                "outlets": [asset.name for asset in task.outlets],
            }
            for task in dag.tasks
        },
    }


folder = Path(sys.argv[1])
sys.path.append(str(folder))
began = time.process_time()
bag = DagBag(str(folder), bundle_name="dags")
seconds = time.process_time() - began
ours = sorted(name for name in sys.modules if name.split(".")[0] in ("pipelines", "models", "bento", "torch", "dvc"))
dags = {name: described(dag) for name, dag in bag.dags.items()}
print(json.dumps({"errors": bag.import_errors, "seconds": seconds, "imported": ours, "dags": dags}))
