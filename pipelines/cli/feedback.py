"""`longtail feedback`: its subcommands."""

from __future__ import annotations

import argparse

from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest

NAME = "longtail"


def add_arguments(feedback: argparse.ArgumentParser) -> None:
    actions = feedback.add_subparsers(dest="what", required=True, metavar="ACTION")
    text = "write the events since the last export to a file of interactions that `ingest` reads"
    actions.add_parser("export", help=text, description=f"{text[0].upper()}{text[1:]}.")


def run_feedback(arguments: argparse.Namespace) -> None:
    from pipelines.feedback import export  # imports pyarrow and SQLAlchemy, which most commands do not need

    path, n_events = export.export(load(Ingest))
    if path is None:
        say(NAME, "no new events")
    else:
        say(NAME, f"{n_events:,} events in {path}; `longtail run` trains on them")
