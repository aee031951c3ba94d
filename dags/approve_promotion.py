"""Ask a person to approve a candidate: show its verdict, and record the decision with the run.

Each candidate has a run of its own, named like its training. It is skipped if nobody has to decide any more.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param
from longtail_tasks import DEFAULTS, MESSAGE, PROMOTED, Command, Outcome

RUN = "{{ params.run_id }}"
ASKED = "{{ (ti.xcom_pull(task_ids='describe') or {}).get('run_id') | tojson }}"
BY_HAND = "{{ (dag_run.run_type != 'operator_triggered') | tojson }}"


class Approval(ApprovalOperator):
    """Approval that publishes a no as well: Airflow's operator skips the next tasks before it returns the answer."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        answer = {key: event.get(key) for key in ("chosen_options", "params_input", "responded_by_user")}
        context["ti"].xcom_push(key="answer", value={**answer, "responded_at": str(event.get("responded_at"))})
        if self.REJECT in event["chosen_options"]:
            by = (event.get("responded_by_user") or {}).get("name") or "a person"
            reason = (event.get("params_input") or {}).get("reason") or "no reason given"
            context["ti"].xcom_push(key=MESSAGE, value=f"REJECTED by {by}: {reason}")
        return super().execute_complete(context, event)


with DAG(
    "approve_promotion",
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1000,  # a run that waits for a person blocks no other run
    params={  # no null: a run without it is refused
        "run_id": Param(
            None, "Id of the run of train_recommender whose candidate is to be promoted; its gate must say PROMOTE",
            type="string", minLength=1, title="Training run",
        )
    },
    default_args=DEFAULTS,
    tags=["longtail"],
    doc_md=__doc__,
) as dag:  # fmt: skip
    describe = Command(task_id="describe", action="describe", arguments={"run_id": RUN, "by_hand": BY_HAND})
    approve = Approval(
        task_id="approve",
        subject=f"Promote the candidate of {RUN}?",
        body="{{ ti.xcom_pull(task_ids='describe')['body'] }}",
        params={
            "reason": Param(
                None, "Reason of the decision; status and lineage show it", type=["null", "string"], title="Reason"
            )
        },
        execution_timeout=None,
    )
    run_id, answer = {"run_id": RUN}, {"answer": "{{ ti.xcom_pull(task_ids='approve', key='answer') | tojson }}"}
    attempt = {"attempt": "{{ ti.try_number | tojson }}"}
    promote = Command(
        task_id="promote",
        action="promote",
        arguments={**run_id, **attempt, **answer, "judge_again": False},
        outlets=[PROMOTED],
    )
    clean_up = Command(task_id="clean_up", action="clean_up", arguments={"run_id": ASKED, **attempt})
    record = Command(task_id="record", action="record", arguments={**run_id, **answer})
    outcome = Outcome(task_id="outcome", ends=["promote"], decisive=["describe", "approve", "promote"])
    describe >> approve >> promote >> [record.as_teardown(), clean_up.as_teardown()]
    [record, clean_up] >> outcome.as_teardown(on_failure_fail_dagrun=True)
