"""The console script `longtail`: run the pipeline, and decide what serves."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from pipelines.artifacts.outputs import DATA
from pipelines.cli import attempts as cli_attempts
from pipelines.cli import cache as cli_cache
from pipelines.cli import feedback as cli_feedback
from pipelines.cli import serve as cli_serve
from pipelines.gate import verdict as verdicts
from pipelines.orchestration import server
from pipelines.privacy.shown import shown
from pipelines.registry import tags
from pipelines.release import lineage, release
from pipelines.runtime.console import run as guarded
from pipelines.runtime.console import say
from pipelines.serve import monitor as serve_monitor
from pipelines.settings import check
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import dvc_locks, git

NAME = "longtail"
QUIET = {"DVC_NO_ANALYTICS": "1", "BENTOML_DO_NOT_TRACK": "True", "GX_ANALYTICS_ENABLED": "false"}
LOCK = Path("dvc.lock")


def main(words: Sequence[str] | None = None) -> None:
    """Entry point: parse, go to the top of the checkout, act; errors are one line and exit status 1."""
    arguments = parser().parse_args(words)

    def act() -> None:
        enter_checkout()
        arguments.action(arguments)

    guarded(act, NAME)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog=NAME,
        description="Train, judge and release recommenders on what they do for the long tail.",
        epilog="Settings are in params.yaml. `dvc repro` runs the same stages without promoting.",
    )
    top.add_argument("--version", action="version", version=f"{NAME} {metadata.version(NAME)}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(action=action)
        return added

    run = command("run", run_pipeline, "run all stages, show the verdict, and promote where it says PROMOTE")
    run.add_argument("--no-promote", action="store_true", help="stop after the verdict")
    gate = command("gate", run_gate, "show the verdict, or what another policy would say of the same candidate")
    gate.add_argument(
        "--what-if",
        type=lambda path: Path(path).absolute(),  # before the current folder changes
        metavar="FILE",
        help="decide again from the saved values by the policy of this YAML file; nothing is trained or written",
    )
    attempts = command(
        "attempts", cli_attempts.run_attempts, "list every judgement of every holdout, as all machines share it"
    )
    cli_attempts.add_arguments(attempts)
    promote = command("promote", run_promote, "let the judged candidate serve as a new version")
    promote.add_argument(
        "--again", action="store_true", help="also a model that was rolled back, or whose Bento changed"
    )
    rollback = command("rollback", run_rollback, "let an earlier version serve again, without retraining")
    rollback.add_argument(
        "version", nargs="?", help="such as v1.0.0; default: the one that the serving version replaced"
    )
    command("status", run_status, "show what serves, the candidate's verdict and all versions")
    lineage = command("lineage", run_lineage, "go back from a version to its data, settings, code and verdict")
    lineage.add_argument(
        "version", nargs="?", help="such as v1.0.0, or the `model` of a served answer; default: the one that serves"
    )
    doctor = command(
        "doctor", run_doctor, "check the checkout, mend what a killed run left, name the remedy of the rest"
    )
    doctor.add_argument("--remote", action="store_true", help="also read and rehash everything in the DVC remote")
    forget = command("forget", run_forget, "take a user out of the source, outputs, cache and remote")
    forget.add_argument("user", help="the id, as it is in the source")
    forget.add_argument("--yes", action="store_true", help="do it; without, only show what names the user")
    forget.add_argument(
        "--serving", action="store_true", help="also what serves: no server can start until a promotion"
    )
    serve = command(
        "serve",
        cli_serve.run_serve,
        "serve what is promoted over HTTP; follow promotions without losing a request",
    )
    cli_serve.add_arguments(serve)
    monitor = command("monitor", serve_monitor.run_monitor, "compare what a server shows with what the gate found")
    serve_monitor.add_arguments(monitor)
    feedback = command("feedback", cli_feedback.run_feedback, "turn what users did into interactions to train on")
    cli_feedback.add_arguments(feedback)
    airflow = command("airflow", server.run_airflow, "start, stop or look at Airflow on this machine")
    server.add_arguments(airflow)
    cache = command("cache", cli_cache.run_cache, "show or shrink the cache of embedded texts")
    cli_cache.add_arguments(cache)
    return top


def enter_checkout() -> None:
    """Go to the top of the checkout, where every path starts."""
    os.chdir(git.root())
    if not Path(".dvc").is_dir():
        raise FileNotFoundError(f"{Path.cwd()} is no DVC repository, which holds the data; run `dvc init` there")
    git.head()
    os.environ.update(QUIET)


def run_pipeline(arguments: argparse.Namespace) -> None:
    check.check()
    if holders := dvc_locks.holders():
        raise ValueError(f"another run is at work in this checkout ({holders}); wait for it, or end it")
    for text in dvc_locks.mend():
        say(NAME, text)
    before = LOCK.read_bytes() if LOCK.is_file() else None
    reproduce()
    from pipelines.gate.report.text_report import print_verdict  # rich, which no other command needs

    verdict = verdicts.read()
    if LOCK.is_file() and LOCK.read_bytes() == before:
        say(NAME, "nothing has changed since the last run")
    print_verdict(verdict)
    promoted = False
    if arguments.no_promote:
        allowed = verdict["verdict"] == "PROMOTE"
        say(NAME, "not promoted, as --no-promote says" + (f"; `{NAME} promote` does it" if allowed else ""))
    elif verdict["verdict"] != "PROMOTE":
        say(NAME, f"not promoted: the verdict is {verdict['verdict']}")
    else:
        promoted = promote_unless_rolled_back()
    say(NAME, f"the report is {(DATA / 'gate' / 'report.html').absolute()}")
    print("next:")
    for text in following(verdict, promoted=promoted):
        print(f"  {prompt()}{text}")


def reproduce() -> None:
    """`dvc repro`, its output passed through; Ctrl-C reaches it as well, and is left to end it in order.

    SIGTERM, which reaches this process alone, is passed on as Ctrl-C: else DVC and its stage would run on.
    """
    # the stages' commands say `python`, which has to be this one
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
        raise ValueError(
            f"the pipeline stopped (`dvc repro` exited {status}); correct what is said above, then run again"
        )


def interrupt(pid: int) -> None:
    """What Ctrl-C does in a terminal: SIGINT to a process and all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid)
        for process in [started, *started.children(recursive=True)]:
            process.send_signal(signal.SIGINT)


def promote_unless_rolled_back() -> bool:
    """Whether it serves now; a model that a person has rolled back is a result of the run, not a failure of it."""
    try:
        say(NAME, release.promote().text)
    except release.RolledBackError as error:
        say(NAME, f"not promoted: {error}")
        return False
    return True


def prompt() -> str:
    """What stands before our commands in a shell: nothing where the environment is active, else its folder."""
    if sys.prefix in (sys.base_prefix, os.environ.get("VIRTUAL_ENV")):
        return ""
    folder = Path(sys.prefix, "bin")
    return f"{folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}/"


def following(verdict: Mapping[str, Any], *, promoted: bool) -> list[str]:
    """Commands worth trying next: what serves now, or what sets the candidate apart from the champion."""
    version = verdict["champion"]["version"]
    compare = ["dvc metrics show", "dvc plots show"]
    if version is not None:
        tag = tags.read(load(Champion)).version_tag(version)
        compare = [f"dvc {what} diff {tag}" for what in ("metrics", "params", "plots")]
    return [f"{NAME} serve", f"{NAME} lineage", compare[0]] if promoted else compare


def run_gate(arguments: argparse.Namespace) -> None:
    from pipelines.gate import what_if
    from pipelines.gate.report import text_report

    if arguments.what_if is None:
        verdict = verdicts.read()
        text_report.print_verdict(verdict)
        if (stale := lineage.stale(verdict)) is not None:
            say(NAME, stale)
    else:
        what_if.print_both(*what_if.decide(arguments.what_if))


def run_promote(arguments: argparse.Namespace) -> None:
    say(NAME, release.promote(again=arguments.again).text)


def run_rollback(arguments: argparse.Namespace) -> None:
    say(NAME, release.rollback(arguments.version).text)


def run_status(arguments: argparse.Namespace) -> None:
    for line in lineage.status():
        print(shown(line))


def run_lineage(arguments: argparse.Namespace) -> None:
    for line in lineage.lineage(arguments.version):
        print(shown(line))


def run_doctor(arguments: argparse.Namespace) -> None:
    from pipelines.cli import doctor  # DuckDB and SQLAlchemy, which other commands do not need

    findings = []
    for finding in doctor.examine(remote=arguments.remote):
        findings.append(finding)
        remedy = f"\n  remedy: {shown(finding.remedy)}" if finding.remedy else ""
        print(shown(finding.text) + remedy, flush=True)
    if open_ones := [finding for finding in findings if finding.remedy]:
        raise ValueError(f"{len(open_ones)} of the lines above name a remedy; apply it, then look again")


def run_forget(arguments: argparse.Namespace) -> None:
    from pipelines.forget import forget  # DuckDB and SQLAlchemy, which other commands do not need

    found = forget.search(arguments.user, serving=arguments.serving)
    lines = list(found.lines())
    for line in [*lines, forget.git_history(arguments.user)]:
        print(shown(line))
    if len(lines) == len(found.beyond):
        say(NAME, "nothing else names this user")
    elif arguments.yes:
        forget.remove(arguments.user, found)
        say(NAME, "removed; `longtail run` makes what is missing, without the user")
    else:
        say(NAME, "nothing is removed yet; the same with --yes removes it")


if __name__ == "__main__":
    main()
