"""Roll back to an earlier version, once its Bento has given the same answers over HTTP as when it was built."""

from __future__ import annotations

from airflow.sdk import DAG, Param
from longtail_tasks import DEFAULTS, PROMOTED, Command

CHOSEN = "{{ ti.xcom_pull(task_ids='choose')['%s'] }}"

with DAG(
    "rollback",
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    params={
        "version": Param(
            None, "Version to roll back to, such as v1.0.0; empty: the predecessor of the serving version",
            type=["null", "string"], pattern=r"^(v\d+\.\d+\.\d+)?$", title="Version",
        ),
        "reason": Param(
            None, "Recorded with the rollback; `longtail status` shows it", type=["null", "string"], maxLength=1000,
            title="Reason",
        ),
    },
    default_args=DEFAULTS,
    tags=["longtail"],
    doc_md=__doc__,
) as dag:  # fmt: skip
    choose = Command(task_id="choose", action="choose", arguments={"version": "{{ params.version | tojson }}"})
    smoke_test = Command(task_id="smoke_test", action="smoke_test", arguments={"version": CHOSEN % "version"})
    rollback = Command(
        task_id="rollback",
        action="rollback",
        arguments={
            "version": CHOSEN % "version",
            "serving": CHOSEN % "serving",
            "reason": "{{ params.reason | tojson }}",
            "by": "{{ (dag_run.triggering_user_name or 'Airflow') | tojson }}",
        },
        outlets=[PROMOTED],
    )
    choose >> smoke_test >> rollback
