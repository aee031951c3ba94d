"""Airflow's pages about verdicts: the tab "Gate report" of a run, the tab "Verdicts" of a DAG, the notes of runs.

Both tabs are behind Airflow's own authentication.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.append(str(CHECKOUT / "dags"))

import run_notes  # noqa: E402
import run_pages  # noqa: E402
from longtail_tasks import MESSAGE  # noqa: E402

TAG, DAG_ID = "longtail", "train_recommender"
PREFIX = "/longtail"
REPORTS = ("run/report.html", "run/validation.html")  # of the gate, or of the validation that stopped the run
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
SANDBOX = {"Content-Security-Policy": f"sandbox allow-popups; {POLICY}"}


def application() -> Any:
    """Return the web application for Airflow's API server, the only process that needs FastAPI."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse

    app = FastAPI(title="Longtail", docs_url=None, redoc_url=None, openapi_url=None)
    may_read = requires_access_dag(method="GET", access_entity=DagAccessEntity.RUN, param_dag_id=DAG_ID)

    @app.get("/report", dependencies=[Depends(may_read)])
    def report(run_id: str) -> HTMLResponse:
        for path in REPORTS:
            if (found := run_pages.kept(run_id, path)) is not None:
                return HTMLResponse(found, headers=SANDBOX)
        return HTMLResponse(run_pages.page("No report", run_pages.absent(run_id)), status_code=404, headers=SANDBOX)

    @app.get("/verdicts", dependencies=[Depends(may_read)])
    def verdicts() -> HTMLResponse:
        return HTMLResponse(run_pages.page("Verdicts", run_pages.table()), headers={"Content-Security-Policy": POLICY})

    return app


def without_markup(text: str) -> str:
    """Escape a sentence with names of rules and slices, since Airflow renders notes as Markdown."""
    text = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return re.sub(r"(://|[\\`*\[\]|~])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


class Note:
    """Listener for the end of runs, in the scheduler, and in the API server if a person ends one."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:
        write(dag_run, "success")

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        write(dag_run, "failed")


def write(dag_run: Any, state: str) -> None:
    """Write how a run ended into its note; Airflow commits it with the run's state."""
    if TAG not in (dag_run.dag.tags or ()) if dag_run.dag else dag_run.dag_id != DAG_ID:
        return
    verdict = (
        yaml.safe_load(run_pages.kept(dag_run.run_id, "run/verdict.json") or "{}") if dag_run.dag_id == DAG_ID else None
    )
    text = without_markup(run_notes.summary(state, tasks_of(dag_run), verdict))
    dag_run.note = run_notes.note(text, [(dag_run.conf or {}).get("note"), dag_run.note])


def tasks_of(dag_run: Any) -> list[run_notes.Task]:
    """Return the tasks of a run with their messages, in the order of their ends."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return []
    same = (XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id, XComModel.key == MESSAGE)
    found = session.scalars(select(XComModel).where(*same)).all()
    messages = {row.task_id: XComModel.deserialize_value(row) for row in found}
    ended = sorted(dag_run.get_task_instances(session=session), key=lambda ti: str(ti.end_date or ""))
    return [run_notes.Task(ti.task_id, ti.state, messages.get(ti.task_id)) for ti in ended]


class GateReportPlugin(AirflowPlugin):
    name = "longtail"
    external_views = [  # noqa: RUF012
        {
            "name": "Gate report",
            "href": f"{PREFIX}/report?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "gate-report",
        },
        {"name": "Verdicts", "href": f"{PREFIX}/verdicts", "destination": "dag", "url_route": "verdicts"},
    ]
    listeners = [Note()]  # noqa: RUF012

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Create the application in the API server, and in no other process of Airflow."""
        if "airflow.api_fastapi.app" in sys.modules:
            cls.fastapi_apps = [{"app": application(), "url_prefix": PREFIX, "name": "Longtail"}]
