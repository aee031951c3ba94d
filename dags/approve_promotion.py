"""Ask a person whether a candidate shall serve: its verdict is the question, the answer is kept with its run."""

from __future__ import annotations

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param
from longtail_tasks import CANDIDATE, DEFAULTS, PROMOTED, Command

RUN = "{{ params.run_id or (triggering_asset_events.values() | map('last') | map(attribute='extra') | first).run_id }}"
ANSWER = "(ti.xcom_pull(task_ids='approve') or {})"
ASKED = "{{ ti.xcom_pull(task_ids='describe')['%s'] }}"

with DAG(
    "approve_promotion",
    schedule=[CANDIDATE],
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1000,  # who waits for a person keeps nobody else waiting
    params={
        "run_id": Param(None, "Run of train_recommender whose model shall serve", type=["null", "string"], title="Run")
    },
    default_args=DEFAULTS,
    tags=["longtail"],
    doc_md=__doc__,
) as dag:
    describe = Command(task_id="describe", action="describe", arguments={"run_id": RUN})
    approve = ApprovalOperator(
        task_id="approve",
        subject=f"Shall the candidate of {ASKED % 'run_id'} serve?",
        body=ASKED % "body",
        params={"reason": Param(None, "Why; kept with the decision", type=["null", "string"], title="Reason")},
        execution_timeout=None,
    )
    run_id = {"run_id": ASKED % "run_id"}
    promote = Command(
        task_id="promote",
        action="promote",
        arguments={**run_id, "attempt": "{{ ti.try_number | tojson }}", "judge_again": False},
        outlets=[PROMOTED],
    )
    clean_up = Command(
        task_id="clean_up", action="clean_up", arguments={**run_id, "attempt": "{{ ti.try_number | tojson }}"}
    )
    record = Command(
        task_id="record",
        action="record",
        arguments={
            **run_id,
            "options": "{{ " + ANSWER + ".chosen_options | default([]) | tojson }}",
            "user": "{{ " + ANSWER + ".responded_by_user | default({}) | tojson }}",
            "fields": "{{ " + ANSWER + ".params_input | default({}) | tojson }}",
            "at": "{{ " + ANSWER + ".responded_at | default('') | string }}",
        },
    )
    describe >> approve >> promote >> [record.as_teardown(), clean_up.as_teardown()]
