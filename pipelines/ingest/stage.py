"""Writes interactions, items, users and rejected.parquet, and summary.json: canonical tables of any source."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pipelines.artifacts import outputs, tables
from pipelines.ingest.canonical import first_read, items, pairs, users
from pipelines.ingest.canonical.ledger import Intake, intake
from pipelines.ingest.sources import demo, download, movielens, table
from pipelines.privacy import modes
from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.engine import Engine
from pipelines.settings.ingest import Ingest

REJECTED_FILE = outputs.DATA / "ingest.rejected.parquet"  # the rejected rows of a failed run


def main() -> None:
    params, engine = load(Ingest), load(Engine)
    started = time.monotonic()
    REJECTED_FILE.unlink(missing_ok=True)
    with outputs.stage("ingest") as stage, intake(stage, params.memory_limit, params.pseudonyms, engine) as desk:
        collect(desk, params)
        n_rejected = tables.write(desk.rejected(), stage.output("rejected.parquet"))
        counts = desk.account()
        refuse_bad_input(counts, params.max_rejected, stage.output("rejected.parquet"))
        refuse_other_size(counts["interactions"]["read"], params.expected_rows)
        n_pairs = tables.write(pairs.merged(desk.engine, params.duplicates), stage.output("interactions.parquet"))
        n_items = tables.write(items.catalogue(desk), stage.output("items.parquet"))
        tables.write(users.table(desk), stage.output("users.parquet"))
        n_users = pairs.n_users(desk.engine)
        sizes = {"n_users": n_users, "n_items": n_items, "n_pairs": n_pairs, "n_rejected": n_rejected}
        source = {"source": params.source, "user_space": desk.user_space}
        outputs.write_json(stage.output("summary.json"), {**source, **sizes, **counts})
    first_read.keep(desk.moments.items())
    for kind, count in counts.items():
        say("ingest", describe(kind, count))
        for file in count["unfinished_files"]:
            say("ingest", f"{file} does not end with a line end: its last row may be truncated")
    seconds = time.monotonic() - started
    say("ingest", f"{n_pairs:,} pairs of {n_users:,} users and {n_items:,} items in {seconds:.1f} s")


def collect(desk: Intake, params: Ingest) -> None:
    """Read the configured source into the tables `events`, `items`, `users` and `rejected`."""
    if params.source == "demo":
        demo.collect(desk, params)
        return
    path = download.fetch(params.url, params.sha256) if params.url else download.unpacked(Path(params.path))
    if params.source == "movielens":
        movielens.collect(desk, path, params.movielens, until=params.until, abuse=params.abuse)
    else:
        table.collect(desk, path, params.table, until=params.until, abuse=params.abuse)


def refuse_bad_input(counts: dict[str, dict[str, Any]], max_rejected: float, rejected: Path) -> None:
    """Raise ValueError, and keep the rejected rows, if no row was accepted or too many were malformed."""
    kinds = ["items", "tags", "users", "interactions"]  # interactions last: events of rejected items are unknown
    for kind in sorted(counts, key=kinds.index):
        count = counts[kind]
        malformed = count["malformed"] / max(count["read"], 1)
        if malformed <= max_rejected and (count["accepted"] or kind == "tags"):
            continue
        modes.restrict(rejected)
        rejected.replace(REJECTED_FILE)
        what = f"{malformed:.2%} of {count['read']:,} rows of {kind} are malformed, max_rejected is {max_rejected:.2%}"
        if not count["accepted"]:
            what = f"none of the {count['read']:,} rows of {kind} was accepted"
        commonest = ", ".join(f"{reason} {n:,}" for reason, n in list(by_count(count["reasons"]))[:3])
        raise ValueError(
            f"{what}: {commonest}; the rejected rows are in {REJECTED_FILE}: correct the source or the ingest section"
        )


def refuse_other_size(read: int, expected: int | None) -> None:
    """Raise ValueError if the number of interaction rows differs from the settings."""
    if expected not in (None, read):
        raise ValueError(
            f"{read:,} rows of interactions were read, ingest.expected_rows is {expected:,}; "
            "a file is truncated or missing, or the number is out of date: correct either"
        )


def by_count(reasons: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))


def describe(kind: str, count: dict[str, Any]) -> str:
    """Return one line about the rows of a kind: numbers of read, accepted and rejected rows, with the reasons."""
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in by_count(count["reasons"]))
    line = f"{kind}: {count['read']:,} rows read, {count['accepted']:,} accepted, {count['rejected']:,} rejected"
    return line + (f" ({reasons})" if reasons else "")
