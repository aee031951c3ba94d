"""The "Gate report" tab of a run, behind Airflow's own authentication, and the verdict in the run's note."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.append(str(CHECKOUT / "dags"))

from longtail_tasks import name_of  # noqa: E402

DAG_ID = "train_recommender"
PREFIX = "/longtail"
EMPTY = "<p>This run has no verdict yet: its gate has not finished.</p>"
HEADERS = {
    "Content-Security-Policy": "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
}


def kept(run_id: str, path: str) -> str | None:
    """Return a file that a run keeps under its ref; None if it is missing."""
    ref = f"refs/longtail/runs/{name_of(run_id)}"
    settings = yaml.safe_load((CHECKOUT / "params.yaml").read_text("utf-8"))
    if settings["airflow"]["workers"] == "remote":
        git("fetch", "--quiet", "--no-tags", settings["release"]["remote"], f"+{ref}:{ref}")
    return git("cat-file", "blob", f"{ref}:{path}")


def git(*arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, check=False, timeout=30)
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


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
        return HTMLResponse(kept(run_id, "run/report.html") or EMPTY, headers=HEADERS)

    return app


def without_markup(text: str) -> str:
    """Escape a sentence with names of rules and slices, since Airflow renders notes as Markdown."""
    text = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return re.sub(r"(://|[\\`*\[\]|~])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


class Note:
    """Listener, in the scheduler, for the end of runs."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:
        write(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        write(dag_run)


def write(dag_run: Any) -> None:
    """Write the form's note and the verdict into the run's note; the scheduler commits it with the run's state."""
    if dag_run.dag_id != DAG_ID:
        return
    verdict = yaml.safe_load(kept(dag_run.run_id, "run/verdict.json") or "{}")
    sentence = f"{verdict['verdict']}: {without_markup(verdict['reason'])}" if verdict else ""
    lines = dict.fromkeys(filter(None, [dag_run.note, (dag_run.conf or {}).get("note"), sentence]))
    if sentence not in (dag_run.note or ""):
        dag_run.note = "\n\n".join(lines)[:1000]


class GateReportPlugin(AirflowPlugin):
    name = "longtail"
    external_views = [  # noqa: RUF012
        {
            "name": "Gate report",
            "href": f"{PREFIX}/report?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "gate-report",
        },
    ]
    listeners = [Note()]  # noqa: RUF012

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Create the application in the API server, and in no other process of Airflow."""
        if "airflow.api_fastapi.app" in sys.modules:
            cls.fastapi_apps = [{"app": application(), "url_prefix": PREFIX, "name": "Longtail"}]
