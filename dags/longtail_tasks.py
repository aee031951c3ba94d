"""Shared parts of the DAGs: the operator that runs an action in its own process group, settings, assets, run names.

The DAG files import it, since Airflow puts their folder on the path.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, BaseOperator, BaseOperatorLink, RetryPolicy, yaml
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout

CHECKOUT = Path(__file__).resolve().parents[1]
SETTINGS: dict[str, Any] = yaml.safe_load((CHECKOUT / "params.yaml").read_text("utf-8"))
HOW: dict[str, Any] = SETTINGS["airflow"]
DEFAULTS: dict[str, Any] = {
    "retries": HOW["retries"],
    "retry_delay": timedelta(seconds=HOW["retry_delay"]),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=30),
    "execution_timeout": timedelta(hours=HOW["timeout"]),
}
NEW_INTERACTIONS = Asset("longtail-new-interactions", uri="x-longtail://new-interactions")
CANDIDATE = Asset("longtail-candidate", uri="x-longtail://candidate")
PROMOTED = Asset("longtail-promoted", uri="x-longtail://promoted")
ENVIRONMENT = {"DVC_NO_ANALYTICS": "1", "BENTOML_DO_NOT_TRACK": "True", "GX_ANALYTICS_ENABLED": "false"}
INHERITED = {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
TERMINATED_IN, KILLED_IN = 3.0, 2.0  # seconds; together less than Airflow's own grace period
MESSAGE = "message"  # XCom key: in one sentence, why a task failed or was skipped, or what it changed
SLOTS, POOL = "LONGTAIL_AIRFLOW_STAGES", "longtail-stages"  # variable and name of the pool of the stages
FINAL = 1  # exit status: a retry would fail the same way
ERROR = re.compile(r"[\w.-]+: error: ")  # start of the line in which an action, or a stage, says why it stopped


class RefusalsAreFinal(RetryPolicy):
    """Retry policy: no further attempt after a refusal, such as of bad input."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        if isinstance(exception, SystemExit) and exception.code == FINAL:
            return RetryDecision.fail("retrying will not help")
        return RetryDecision.default()


class Command(BaseOperator):
    """Run `python -m pipelines.orchestration.task ACTION` in the checkout, and return its result.

    The result is also the extra of the outlets.

    arguments: of the action; a template that ends in `tojson` is decoded, others are passed as text. No process of the
    action outlives the task. A result with `skip` skips the task for that reason. A failed action ends the task's
    process with the same exit status, since Airflow logs an exception with its stack trace, which explains nothing
    here.
    """

    template_fields = ("arguments",)
    ui_color = "#e8f1ee"

    def __init__(self, *, action: str, arguments: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**{"retry_policy": RefusalsAreFinal(), **kwargs})
        self.action = action
        self.arguments = dict(arguments or {})
        self.encoded = [key for key, value in self.arguments.items() if str(value).endswith("tojson }}")]
        self.process: subprocess.Popen[str] | None = None
        self.message: str | None = None

    def execute(self, context: Any) -> Any:
        try:
            found = self.act()
        except AirflowTaskTimeout:
            self.message = f"{self.action} was stopped after {self.execution_timeout}; airflow.timeout sets the limit"
            raise
        finally:
            if self.message is not None:
                context["ti"].xcom_push(key=MESSAGE, value=self.message)
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = found
        return found

    def act(self) -> dict[str, Any]:
        """Run the action and return its result; raises SystemExit if it fails, AirflowSkipException for `skip`."""
        arguments = self.arguments | {key: json.loads(self.arguments[key]) for key in self.encoded}
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder, "result.json")
            began = time.monotonic()
            self.run([sys.executable, "-m", "pipelines.orchestration.task", self.action, json.dumps(arguments)], result)
            found: dict[str, Any] = json.loads(result.read_text("utf-8"))
            found["process_seconds"] = round(time.monotonic() - began, 2)
        self.message = found.get("skip") or found.get("text")
        if "skip" in found:
            raise AirflowSkipException(found["skip"])
        return found

    def run(self, command: list[str], result: Path) -> None:
        """Run a command and copy its output to the log; raises SystemExit with its status if it fails."""
        env = {**os.environ, **ENVIRONMENT, **INHERITED, "LONGTAIL_RESULT": str(result), "PYTHONUNBUFFERED": "1"}
        env["LONGTAIL_SUPERVISOR"] = str(os.getppid())
        self.process = subprocess.Popen(
            command, cwd=CHECKOUT, env=env, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            for line in self.process.stdout or ():
                self.copy(line.rstrip("\n"))
            status = self.process.wait()
        finally:
            self.on_kill()
        if status != 0:
            if self.message is None:
                how = (
                    f"was ended by signal {-status}, by a person or the system"
                    if status < 0
                    else f"ended with {status}"
                )
                self.message = f"{self.action} {how}"
                self.log.error("%s", self.message)
            raise SystemExit(status)

    def copy(self, line: str) -> None:
        """Log a line of the action; the first error is the message of the task, since later ones refer to it."""
        if not ERROR.match(line):
            self.log.info("%s", line)
            return
        self.log.error("%s", line)
        self.message = self.message or line.strip()[:1000]

    def on_kill(self) -> None:
        """End the process group: SIGTERM first, then SIGKILL."""
        if self.process is None:
            return
        for number, patience in ((signal.SIGTERM, TERMINATED_IN), (signal.SIGKILL, KILLED_IN)):
            if not signalled(self.process.pid, number):
                return
            end = time.monotonic() + patience
            while time.monotonic() < end and signalled(self.process.pid, 0):
                self.process.poll()  # reap it: a zombie still belongs to the group
                time.sleep(0.05)


class CleanUp(Command):
    """Task before the last of a training: tell the action which tasks failed, with their messages."""

    def execute(self, context: Any) -> Any:
        failed = sorted(task_id for task_id, state in states_of(context).items() if state == "failed")
        self.arguments["failed"] = {
            task_id: context["ti"].xcom_pull(task_ids=task_id, key=MESSAGE) for task_id in failed
        }
        return super().execute(context)


class Outcome(BaseOperator):
    """Last task of a run: fail unless the run came to an end of its own.

    A teardown that runs even if a person marks the run as failed, as the clean-up does: by the skipped tasks before
    them, Airflow would call such a run a success.

    ends: tasks that end a run when they succeed; decisive: tasks that end it when they leave a message.
    """

    def __init__(self, *, ends: Collection[str], decisive: Collection[str], **kwargs: Any) -> None:
        super().__init__(retry_policy=RefusalsAreFinal(), **kwargs)
        self.ends, self.decisive = sorted(ends), sorted(decisive)

    def execute(self, context: Any) -> None:
        states, ti = states_of(context), context["ti"]
        work = {task.task_id for task in context["dag"].tasks if not task.is_teardown}  # a clean-up decides nothing
        if failed := sorted(task_id for task_id in work if states.get(task_id) == "failed"):
            self.log.error("the run has failed at %s", ", ".join(failed))
            raise SystemExit(FINAL)
        messages = (ti.xcom_pull(task_ids=task_id, key=MESSAGE) for task_id in self.decisive)
        if not any(states.get(task_id) == "success" for task_id in self.ends) and not any(messages):
            self.log.error("the run was ended before one of %s", ", ".join(sorted({*self.ends, *self.decisive})))
            raise SystemExit(FINAL)


def states_of(context: Any) -> dict[str, str]:
    """Return the states of the run's tasks."""
    ti = context["ti"]
    found: dict[str, str] = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    return found


def signalled(group: int, number: int) -> bool:
    """Send a signal to a process group; return False if the group is gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


class GateReport(BaseOperatorLink):
    """Link from the gate's task to the report of its run."""

    name = "Gate report"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        return f"/dags/{ti_key.dag_id}/runs/{ti_key.run_id}/plugin/gate-report"


class Stage(Command):
    """A stage of dvc.yaml; `airflow.stages` in params.yaml sets its queue and the like."""

    def __init__(self, *, stage: str, **kwargs: Any) -> None:
        where = dict((HOW["stages"] or {}).get(stage) or {})
        if (hours := where.pop("timeout", None)) is not None:
            where["execution_timeout"] = timedelta(hours=hours)
        where = {key: value for key, value in where.items() if value is not None}
        if SLOTS in os.environ:  # `longtail airflow up` has created the pool
            where.setdefault("pool", POOL)
        arguments = {"run_id": "{{ run_id }}", "name": stage, "attempt": "{{ ti.try_number | tojson }}"}
        super().__init__(task_id=stage, action="stage", arguments=arguments, **{**where, **kwargs})


class Gate(Stage):
    """The stage that writes the report."""

    operator_extra_links = (GateReport(),)


def name_of(run_id: str) -> str:
    """Return the run's name in `refs/longtail/runs/`."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id).strip("-")[:80]
    return safe if safe == run_id else f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"
