"""Check if the source data has changed; if so, version it with DVC and trigger training.

The schedule is `airflow.watch` in params.yaml. Without changes the task is skipped, unless no training on the last
version has led to a verdict: then it triggers another one, up to three times.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param
from longtail_tasks import DEFAULTS, HOW, NEW_INTERACTIONS, Command

ACTIVE = "{{ ti.get_dr_count(dag_id='train_recommender', states=['queued', 'running']) | tojson }}"
UNFINISHED = ["null", "scheduled", "queued", "running", "restarting", "up_for_retry"]
WAITING = f"{{{{ ti.get_ti_count(dag_id='train_recommender', task_ids=['prepare'], states={UNFINISHED}) | tojson }}}}"

with DAG(
    "watch_source",
    schedule=HOW["watch"],
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    params={
        "again": Param(
            False,
            "Trigger training on the last version, whatever became of earlier ones",
            type="boolean",
            title="Again",
        )
    },
    default_args=DEFAULTS,
    tags=["longtail"],
    doc_md=__doc__,
) as dag:
    again = {"again": "{{ params.again | tojson }}"}
    Command(
        task_id="look",
        action="look",
        arguments={"attempt": "{{ ti.try_number | tojson }}", "active": ACTIVE, "waiting": WAITING, **again},
        outlets=[NEW_INTERACTIONS],
    )
