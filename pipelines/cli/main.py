"""The console script `longtail`: run the pipeline, and decide which version serves."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from pipelines.cli import attempts as cli_attempts
from pipelines.cli import cache as cli_cache
from pipelines.cli import feedback as cli_feedback
from pipelines.cli import run as cli_run
from pipelines.cli import serve as cli_serve
from pipelines.gate import verdict as verdicts
from pipelines.orchestration import server
from pipelines.privacy.shown import shown
from pipelines.release import lineage, release
from pipelines.runtime.console import run as guarded
from pipelines.runtime.console import say
from pipelines.serve import monitor as serve_monitor
from pipelines.workspace import git

NAME = "longtail"
QUIET = {"DVC_NO_ANALYTICS": "1", "BENTOML_DO_NOT_TRACK": "True", "GX_ANALYTICS_ENABLED": "false"}


def main(words: Sequence[str] | None = None) -> None:
    """Parse the arguments, go to the top of the checkout and run the command; errors are one line and exit status 1."""
    arguments = parser().parse_args(words)

    def act() -> None:
        enter_checkout()
        arguments.action(arguments)

    guarded(act, NAME)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog=NAME,
        description="Train recommenders, judge them on accuracy and long-tail exposure, and release them.",
        epilog="Settings are in params.yaml. `dvc repro` runs the same stages without promoting.",
    )
    top.add_argument("--version", action="version", version=f"{NAME} {metadata.version(NAME)}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(action=action)
        return added

    run = command(
        "run", cli_run.run_pipeline, "run all stages, show the verdict, and promote the candidate if it says PROMOTE"
    )
    run.add_argument("--no-promote", action="store_true", help="stop after the verdict")
    gate = command("gate", run_gate, "show the verdict, or the verdict of another policy on the same candidate")
    gate.add_argument(
        "--what-if",
        type=lambda path: Path(path).absolute(),  # before the current folder changes
        metavar="FILE",
        help="apply the policy of this YAML file to the saved values; nothing is trained or written",
    )
    attempts = command(
        "attempts", cli_attempts.run_attempts, "list all judgements of all holdouts, shared between machines"
    )
    cli_attempts.add_arguments(attempts)
    promote = command("promote", run_promote, "release the judged candidate as a new version and serve it")
    promote.add_argument(
        "--again", action="store_true", help="also promote a model that was rolled back, or that has a changed Bento"
    )
    promote.add_argument("--reason", help="recorded with the promotion; `longtail status` and `lineage` show it")
    rollback = command("rollback", run_rollback, "serve an earlier version again, without retraining")
    rollback.add_argument("version", nargs="?", help="such as v1.0.0; default: the predecessor of the serving version")
    rollback.add_argument("--reason", help="recorded with the rollback; `longtail status` and `lineage` show it")
    command("status", run_status, "show the serving version, the candidate's verdict and all versions")
    lineage = command("lineage", run_lineage, "trace a version back to its data, settings, code and verdict")
    lineage.add_argument(
        "version", nargs="?", help="such as v1.0.0, or the `model` field of an answer; default: the serving version"
    )
    doctor = command(
        "doctor", run_doctor, "diagnose this checkout; repair what is safe to repair, print a fix for the rest"
    )
    doctor.add_argument("--remote", action="store_true", help="also read and rehash all objects of the DVC remote")
    push = command("push", run_push, "copy the data of all versions to the DVC remote, and check that it has them")
    push.add_argument(
        "versions",
        nargs="*",
        metavar="VERSION",
        help="such as v1.0.0; default: all, open runs, watched data, this checkout",
    )
    gc = command(
        "gc", run_gc, "free space in DVC's cache; keep what versions, open runs, branches and experiments need"
    )
    gc.add_argument("--yes", action="store_true", help="delete; without this option only show what would be freed")
    gc.add_argument("--remote", action="store_true", help="free the default DVC remote as well")
    gc.add_argument(
        "--also",
        nargs="+",
        default=[],
        type=lambda path: Path(path).absolute(),
        metavar="CHECKOUT",
        help="further checkouts that share DVC's cache, whose data are kept as well",
    )
    gc.add_argument(
        "--ignore-missing",
        action="store_true",
        help="go on although lists of files are missing, and delete files that only those name",
    )
    forget = command("forget", run_forget, "delete a user from the source, outputs, caches and remote")
    forget.add_argument("user", help="user id as in the source data")
    forget.add_argument(
        "--yes", action="store_true", help="delete; without this option only list what mentions the user"
    )
    forget.add_argument(
        "--serving",
        action="store_true",
        help="also delete the Bento in service; servers cannot restart until a new version is promoted",
    )
    serve = command(
        "serve",
        cli_serve.run_serve,
        "serve the promoted version over HTTP, and switch to later promotions without losing a request",
    )
    cli_serve.add_arguments(serve)
    monitor = command(
        "monitor", serve_monitor.run_monitor, "compare the tail exposure of a running server with the gate's figures"
    )
    serve_monitor.add_arguments(monitor)
    feedback = command("feedback", cli_feedback.run_feedback, "export feedback events as training interactions")
    cli_feedback.add_arguments(feedback)
    airflow = command("airflow", server.run_airflow, "start, stop or inspect Airflow on this machine")
    server.add_arguments(airflow)
    cache = command("cache", cli_cache.run_cache, "show or shrink the cache of text embeddings")
    cli_cache.add_arguments(cache)
    return top


def enter_checkout() -> None:
    """Change to the top of the checkout, the start of all relative paths."""
    os.chdir(git.root())
    if not Path(".dvc").is_dir():
        raise FileNotFoundError(f"{Path.cwd()} is not a DVC repository; run `dvc init` there")
    git.head()
    os.environ.update(QUIET)


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
    say(NAME, release.promote(again=arguments.again, why=arguments.reason).text)


def run_rollback(arguments: argparse.Namespace) -> None:
    say(NAME, release.rollback(arguments.version, why=arguments.reason).text)


def run_status(arguments: argparse.Namespace) -> None:
    for line in lineage.status():
        print(shown(line))


def run_lineage(arguments: argparse.Namespace) -> None:
    for line in lineage.lineage(arguments.version):
        print(shown(line))


def run_doctor(arguments: argparse.Namespace) -> None:
    from pipelines.cli import doctor  # imports DuckDB and SQLAlchemy, which other commands do not need

    findings = []
    for finding in doctor.examine(remote=arguments.remote):
        findings.append(finding)
        remedy = f"\n  remedy: {shown(finding.remedy)}" if finding.remedy else ""
        print(shown(finding.text) + remedy, flush=True)
    if open_ones := [finding for finding in findings if finding.remedy]:
        raise ValueError(f"{len(open_ones)} of the lines above need a fix; apply it, then run `{NAME} doctor` again")


def run_push(arguments: argparse.Namespace) -> None:
    from pipelines.cli import data  # imports DVC, which other commands do not need

    data.push(arguments.versions)


def run_gc(arguments: argparse.Namespace) -> None:
    from pipelines.cli import data  # as above

    data.collect_garbage(
        delete=arguments.yes, remote=arguments.remote, ignore_missing=arguments.ignore_missing, others=arguments.also
    )


def run_forget(arguments: argparse.Namespace) -> None:
    from pipelines.forget import forget  # imports DuckDB and SQLAlchemy, which other commands do not need

    found = forget.search(arguments.user, serving=arguments.serving)
    lines = list(found.lines())
    for line in [*lines, forget.git_history(arguments.user)]:
        print(shown(line))
    if len(lines) == len(found.beyond):
        say(NAME, "nothing else mentions this user")
    elif arguments.yes:
        forget.remove(arguments.user, found)
        say(NAME, "deleted; `longtail run` rebuilds the removed outputs without the user")
    else:
        say(NAME, "nothing is deleted yet; run again with --yes to delete it")


if __name__ == "__main__":
    main()
