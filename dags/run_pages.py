"""Pages on runs, from the files that they keep under `refs/longtail/runs/`: reports, and a table of verdicts."""

from __future__ import annotations

import html
import io
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from airflow.sdk import yaml
from longtail_tasks import name_of

CHECKOUT = Path(__file__).resolve().parents[1]
DAG_ID = "train_recommender"
REFS = "refs/longtail/runs"
FILES = ("run", "verdict", "decision", "ended")
LISTED = 200  # newest runs on the page of verdicts
LONGEST = 240  # characters of a reason there; the report has all
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem; color: #0f172a; background: #fff }
table { border-collapse: collapse } th, td { text-align: left; vertical-align: top; padding: .35rem 1rem .35rem 0 }
td { border-top: 1px solid #cbd5e1; overflow-wrap: anywhere } td:nth-child(-n+2) { white-space: nowrap }
@media (prefers-color-scheme: dark) { body { color: #e2e8f0; background: #0f172a } a { color: #93c5fd } }
"""
HEADINGS = ("Run", "Verdict", "Reason", "Champion", "Note", "Decision")


def fetched(ref: str) -> None:
    """Update refs of runs from the Git remote that the workers share, if they do."""
    settings = yaml.safe_load((CHECKOUT / "params.yaml").read_text("utf-8"))
    if settings["airflow"]["workers"] == "remote":
        git("fetch", "--quiet", "--no-tags", settings["release"]["remote"], f"+{ref}:{ref}")


def kept(run_id: str, path: str) -> str | None:
    """Return a file that a run keeps under its ref; None if it is missing."""
    ref = f"{REFS}/{name_of(run_id)}"
    fetched(ref)
    return git("cat-file", "blob", f"{ref}:{path}")


def git(*arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, check=False, timeout=30)
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{title}</title>'
    return f'<!doctype html><html lang="en">{head}<style>{STYLE}</style><h1>{title}</h1>{body}</html>'


def absent(run_id: str) -> str:
    return (
        f"<p>The run {html.escape(run_id)} has no report. A run of {DAG_ID} gets one when its gate has judged, or when "
        "the validation of its data fails. If it failed before, its note tells the reason; so does the log of the "
        "task.</p><p>A run of another DAG has no report, but for approve_promotion: each question has the id of its "
        "training run, and shows the report of that run.</p>"
    )


def table() -> str:
    """Return the newest training runs as an HTML table."""
    fetched(f"{REFS}/*")
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for cells in rows_of(records()))
    heads = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    more = "<p>A run whose settings were refused is not listed; its note tells the reason.</p>"
    return (f"<table><tr>{heads}</tr>{rows}</table>" if rows else "<p>No training run yet.</p>") + more


def records() -> Iterator[dict[str, Any]]:
    """Yield what each of the newest runs keeps under its ref, by file; empty for a file that it lacks."""
    listed = git("for-each-ref", f"--count={LISTED}", "--sort=-creatordate", "--format=%(refname)", REFS) or ""
    asked = [(ref, name) for ref in listed.split() for name in FILES]
    answers = contents([f"{ref}:run/{name}.json" for ref, name in asked])
    found = [json.loads(text) if text else {} for text in answers]
    for i in range(0, len(found), len(FILES)):
        yield dict(zip(FILES, found[i : i + len(FILES)], strict=True))


def contents(objects: Sequence[str]) -> Iterator[bytes]:
    """Yield the contents of objects of Git, empty for missing ones, by one call."""
    command = ["git", "-C", str(CHECKOUT), "cat-file", "--batch"]
    stdin = "".join(f"{name}\n" for name in objects).encode()
    answer = io.BytesIO(subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=30).stdout)
    for _ in objects:
        head = answer.readline().split()
        yield b"" if head[-1] == b"missing" else answer.read(int(head[-1]) + 1)[:-1]  # a line end follows


def rows_of(runs: Iterator[dict[str, Any]]) -> Iterator[list[str]]:
    """Yield the cells of each run, as HTML, the newest run first."""
    for found in sorted(runs, key=lambda found: str(found["run"].get("created")), reverse=True):
        run, verdict, decision = found["run"], found["verdict"], found["decision"]
        run_id, outcome = str(run.get("run_id")), verdict.get("verdict")
        # within the frame: Airflow lets a frame open no other page of its own
        address = f"report?{urlencode({'dag_id': DAG_ID, 'run_id': run_id})}"
        reason = verdict.get("reason") or failure(run, found["ended"])
        told = f"{decision['decision']} by {decision['by']}: {decision['why'] or 'no reason given'}" if decision else ""
        yield [
            f"{html.escape(str(run.get('created', ''))[:16])}<br><small>{html.escape(run_id)}</small>",
            f'<a href="{html.escape(address)}">{outcome}</a>' if outcome else "FAILED" if reason else "none yet",
            html.escape(reason if len(reason) <= LONGEST else f"{reason[:LONGEST]} …"),
            html.escape(verdict.get("champion", {}).get("version") or ""),
            html.escape(run.get("note") or ""),
            html.escape(told),
        ]


def failure(run: dict[str, Any], ended: dict[str, Any]) -> str:
    """Return why a run ended without a verdict; empty if it has not ended."""
    if refused := run.get("refused"):
        return str(refused)
    failed = [
        f"{task.rpartition('.')[2]}: {text or 'ended from outside'}" for task, text in ended.get("failed", {}).items()
    ]
    return "; ".join(failed) or ("ended before its gate" if ended else "")
