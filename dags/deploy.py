"""Serve what was promoted, or rolled back to, on this machine: starts or replaces `longtail serve` and asks it.

Where is `airflow.deployment` in params.yaml. Paused until you switch it on; another DAG of yours may hang on the same
asset instead.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param
from longtail_tasks import DEFAULTS, PROMOTED, Command

VERSION = (
    "{{ params.version or (triggering_asset_events.values() | map('last') | map(attribute='extra') | first).version }}"
)

with DAG(
    "deploy",
    schedule=[PROMOTED],
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=1,
    params={
        "version": Param(
            None, "Such as v1.0.0, when triggered by hand", type=["null", "string"], pattern=r"^v\d+\.\d+\.\d+$"
        )
    },
    default_args=DEFAULTS,
    tags=["longtail"],
    doc_md=__doc__,
) as dag:
    Command(task_id="deploy", action="deploy", arguments={"version": VERSION})
