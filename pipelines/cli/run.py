"""`longtail run`: all stages, the verdict, the promotion, and what to try next."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from pipelines.artifacts.outputs import DATA
from pipelines.gate import verdict as verdicts
from pipelines.registry import tags
from pipelines.release import release
from pipelines.runtime.console import say
from pipelines.settings import check
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import dvc_locks

NAME = "longtail"
LOCK = Path("dvc.lock")


def run_pipeline(arguments: argparse.Namespace) -> None:
    check.check()
    if holders := dvc_locks.holders():
        raise ValueError(f"another run is active in this checkout ({holders}); wait until it ends, or end it")
    for text in dvc_locks.mend():
        say(NAME, text)
    before = LOCK.read_bytes() if LOCK.is_file() else None
    reproduce()
    from pipelines.gate.report.text_report import print_verdict  # imports rich, which no other command needs

    verdict = verdicts.read()
    if LOCK.is_file() and LOCK.read_bytes() == before:
        say(NAME, "nothing changed since the last run")
    print_verdict(verdict)
    promoted = False
    if arguments.no_promote:
        allowed = verdict["verdict"] == "PROMOTE"
        say(NAME, "not promoted, because of --no-promote" + (f"; `{NAME} promote` promotes it" if allowed else ""))
    elif verdict["verdict"] != "PROMOTE":
        say(NAME, f"not promoted: the verdict is {verdict['verdict']}")
    else:
        promoted = promote_unless_rolled_back()
    say(NAME, f"report: {(DATA / 'gate' / 'report.html').absolute()}")
    print("next:")
    for text in following(verdict, promoted=promoted):
        print(f"  {prompt()}{text}")


def reproduce() -> None:
    """Run `dvc repro` with its output passed through; it receives Ctrl-C as well, and is awaited.

    SIGTERM reaches this process alone, so it is passed on as SIGINT: otherwise DVC and its stage would run on.
    """
    # `python` in the stages' commands must be this interpreter
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    process = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], env={**os.environ, "PATH": path})
    previous = signal.signal(signal.SIGTERM, lambda *_: interrupt(process.pid))
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
    if status != 0:
        raise ValueError(f"the pipeline stopped (`dvc repro` exited {status}); fix the error above, then run again")


def interrupt(pid: int) -> None:
    """Send SIGINT to a process and its descendants, as Ctrl-C does in a terminal."""
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid)
        for process in [started, *started.children(recursive=True)]:
            process.send_signal(signal.SIGINT)


def promote_unless_rolled_back() -> bool:
    """Promote and return True; return False for a model that was rolled back, which does not fail the run."""
    try:
        say(NAME, release.promote().text)
    except release.RolledBackError as error:
        say(NAME, f"not promoted: {error}")
        return False
    return True


def prompt() -> str:
    """Return the prefix of shell commands: empty if the environment is active, else its folder."""
    if sys.prefix in (sys.base_prefix, os.environ.get("VIRTUAL_ENV")):
        return ""
    folder = Path(sys.prefix, "bin")
    return f"{folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}/"


def following(verdict: Mapping[str, Any], *, promoted: bool) -> list[str]:
    """Return commands to try next: serve the new version, or compare the candidate with the champion."""
    version = verdict["champion"]["version"]
    compare = ["dvc metrics show", "dvc plots show"]
    if version is not None:
        tag = tags.read(load(Champion)).version_tag(version)
        compare = [f"dvc {what} diff {tag}" for what in ("metrics", "params", "plots")]
    return [f"{NAME} serve", f"{NAME} lineage", compare[0]] if promoted else compare
