"""`longtail attempts`: print the ledger of judgements as a table or JSON, or record that its history is lost."""

from __future__ import annotations

import argparse
import json
import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.gate import attempts, releases
from pipelines.gate import ledger as ledgers
from pipelines.gate.ledger import Judgement, Lost
from pipelines.gate.report import attempts as report_attempts
from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.release import Release
from pipelines.workspace import git

NAME = "longtail"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print all entries as a JSON list, the oldest first")
    parser.add_argument(
        "--begin-anew",
        metavar="WHY",
        help="record that the earlier history is lost, with the reason WHY; it counts as gate.attempts.half judgements",
    )


def run_attempts(arguments: argparse.Namespace) -> None:
    with git.lock(ledgers.LOCK):
        notes = attempts.synchronized(load(Release).remote)
    if arguments.begin_anew is not None:
        entry = attempts.begin_anew(arguments.begin_anew)
        say(NAME, f"recorded by {entry.by}; it counts from the next judgement on")
        with git.lock(ledgers.LOCK):
            notes = attempts.synchronized(load(Release).remote)
    ledger = ledgers.read()
    for note in notes:
        print(f"{NAME}: warning: {note}", file=sys.stderr)
    if arguments.json:
        print(json.dumps([entry.model_dump(mode="json") for entry in ledger.entries], indent=1))
        return
    if not ledger.entries:
        say(NAME, f"no judgements yet: {ledgers.REF} is missing; the next run of `gate` creates it")
    else:
        print_entries(ledger.entries)
    for note in releases.completeness(ledger):
        say(NAME, f"note: {note}")


def print_entries(entries: tuple[Judgement | Lost, ...], console: Console | None = None) -> None:
    """Print a row per entry, the oldest first."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in ("when", "by", "since", "holdout", "number", "level", "verdict", "model"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        first = [
            report_attempts.name_of(text) for text in (entry.at[:16].replace("T", " "), entry.by, entry.epoch or "–")
        ]
        if isinstance(entry, Lost):
            rest = ["lost", "", "", report_attempts.name_of(entry.reason), ""]
        else:
            number = "what if" if entry.kind == "what-if" else report_attempts.place_of(entry)
            digests = entry.digests
            level = f"{entry.level * 100:.3g} %"
            rest = [digests.get("split", "")[:8], number, level, entry.verdict, digests.get("model", "")[:8]]
        table.add_row(*map(escape, [*first, *rest]))
    (console or Console()).print(table)
