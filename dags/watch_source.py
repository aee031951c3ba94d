"""Check if the source data has changed; if so, version it with DVC and trigger training.

The schedule is `airflow.watch` in params.yaml. Without changes the task is skipped.
"""

from __future__ import annotations

from airflow.sdk import DAG
from longtail_tasks import DEFAULTS, HOW, NEW_INTERACTIONS, Command

with DAG(
    "watch_source",
    schedule=HOW["watch"],
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["longtail"],
    doc_md=__doc__,
) as dag:
    Command(
        task_id="look", action="look", arguments={"attempt": "{{ ti.try_number | tojson }}"}, outlets=[NEW_INTERACTIONS]
    )
