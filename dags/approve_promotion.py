"""Ask a person whether a candidate shall serve: its verdict is the question, the answer is kept with its run."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param
from longtail_tasks import CANDIDATE, DEFAULTS, PROMOTED, Command

RUN = "{{ params.run_id or (triggering_asset_events.values() | map('last') | map(attribute='extra') | first).run_id }}"
ASKED = "{{ ti.xcom_pull(task_ids='describe')['%s'] }}"


class Approval(ApprovalOperator):
    """Tells other tasks the answer too where it is no: skipping what follows ends a task before it has returned."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        answer = {key: event.get(key) for key in ("chosen_options", "params_input", "responded_by_user")}
        context["ti"].xcom_push(key="answer", value={**answer, "responded_at": str(event.get("responded_at"))})
        return super().execute_complete(context, event)


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
    approve = Approval(
        task_id="approve",
        subject=f"Shall the candidate of {ASKED % 'run_id'} serve?",
        body=ASKED % "body",
        params={"reason": Param(None, "Why; kept with the decision", type=["null", "string"], title="Reason")},
        execution_timeout=None,
    )
    run_id = {"run_id": ASKED % "run_id"}
    attempt = {"attempt": "{{ ti.try_number | tojson }}"}
    promote = Command(
        task_id="promote", action="promote", arguments={**run_id, **attempt, "judge_again": False}, outlets=[PROMOTED]
    )
    clean_up = Command(task_id="clean_up", action="clean_up", arguments={**run_id, **attempt})
    record = Command(
        task_id="record",
        action="record",
        arguments={**run_id, "answer": "{{ ti.xcom_pull(task_ids='approve', key='answer') | tojson }}"},
    )
    describe >> approve >> promote >> [record.as_teardown(), clean_up.as_teardown()]
