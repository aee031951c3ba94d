"""Look whether what `ingest` reads has changed; version new data with DVC and let training start on them.

When is `airflow.watch` in params.yaml. Without changes the task is skipped.
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
