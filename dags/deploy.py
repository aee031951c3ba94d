"""Deploy the promoted version on this machine: start `longtail serve` if needed, and wait for answers of this version.

Promotions trigger it, and so does the clock, at once when the DAG is switched on and then every hour: a promotion by
the command line is deployed, and a server that died is started again. It deploys the version that serves when it runs,
whichever promotion that was. Host and port are
`airflow.deployment` in params.yaml. The DAG is paused until you enable it; a DAG of your own can use
the same asset instead.
"""

from __future__ import annotations

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param
from longtail_tasks import DEFAULTS, PROMOTED, Command

with DAG(
    "deploy",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 * * * *", timezone="UTC", run_immediately=True), assets=[PROMOTED]
    ),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=1,
    params={
        "version": Param(
            None,
            "Such as v1.0.0; empty: the version that serves now",
            type=["null", "string"],
            title="Version",
            pattern=r"^(v\d+\.\d+\.\d+)?$",
        )
    },
    default_args=DEFAULTS,
    tags=["longtail"],
    doc_md=__doc__,
) as dag:
    Command(task_id="deploy", action="deploy", arguments={"version": "{{ params.version | tojson }}"})
