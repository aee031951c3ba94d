"""`longtail feedback export`: write positive events to a new file of interactions that `ingest` reads with the others.

The file's name, `feedback-STORE-FIRST-LAST.parquet`, is the watermark, so that file and watermark cannot disagree: an
interrupted export has written nothing, a repeated one finds nothing new.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.inference.event_bounds import refusal
from pipelines.artifacts import outputs
from pipelines.feedback import store
from pipelines.feedback.store import Batch
from pipelines.ingest.sources.table import EXPORTS
from pipelines.runtime.console import say
from pipelines.settings.ingest import Ingest, Table
from pipelines.workspace import git

NAME = re.compile(r"feedback-(?P<store>[0-9a-f]{8})-(?P<first>\d{12})-(?P<last>\d{12})\.parquet")


def export(params: Ingest) -> tuple[Path | None, int]:
    """Write the new events; return the file, None if there are none, and the number of events.

    Raises ValueError if ingest would not read the file.
    """
    folder = readable_folder(params)
    with git.lock("longtail-feedback"):  # two exports at once would write the same events twice
        after = watermark(folder, store.store_id())
        batch = store.read(after)
        batch = None if batch is None else replace(batch, events=sound(batch.events))
        if batch is None or batch.events.num_rows == 0:
            return None, 0
        path = folder / f"feedback-{batch.store_id}-{after + 1:012}-{batch.last:012}.parquet"
        with outputs.written(path) as partial:
            pq.write_table(columns(batch, params.table), partial, write_page_checksum=True)
        return path, batch.events.num_rows


def readable_folder(params: Ingest) -> Path:
    """Return the folder of the interaction files of ingest, after checking that they include EXPORTS."""
    if params.source != "table" or params.url is not None:
        what = f"ingest.source is {params.source}" if params.url is None else "ingest.url is set"
        raise ValueError(
            f"{what}; events can only be added to your own files: set `source: table` and a folder in `path`"
        )
    if params.pseudonyms is not None:
        raise ValueError(
            "ingest.pseudonyms is set: events have the pseudonyms of users, as the model does, and ingest would hash "
            "those again; export on a system with the users' own ids"
        )
    folder = Path(params.path)
    if not folder.is_dir():
        raise ValueError(f"ingest.path is {folder}, expected a folder, to which a file can be added")
    example = f"feedback-{'0' * 8}-{0:012}-{0:012}.parquet"
    if not any(PurePath(example).match(pattern) for pattern in params.table.interactions):
        raise ValueError(
            f"ingest.table.interactions is {params.table.interactions} and does not match {EXPORTS}, so ingest would "
            f"not read the events; add {EXPORTS!r} there"
        )
    return folder


def watermark(folder: Path, store: str | None) -> int:
    """Return the number of a store's last event that is in a file of the folder."""
    named = (NAME.fullmatch(path.name) for path in folder.iterdir())
    return max((int(match["last"]) for match in named if match and match["store"] == store), default=0)


def sound(events: pa.Table) -> pa.Table:
    """Return the events that ingest accepts; print how many it would reject, and why. Those stay in the store.

    An event is in the future if its time is after its arrival, so that every export decides alike.
    """
    fields = (events[name].to_pylist() for name in ("user_id", "item_id", "value", "received"))
    times = [None if at is None else at / 1e6 for at in events["timestamp"].cast(pa.int64()).to_pylist()]
    reasons = [
        "timestamp_out_of_range" if at is None else refusal(user, item, value, at, now=received)
        for user, item, value, received, at in zip(*fields, times, strict=True)
    ]
    refused = Counter(reason for reason in reasons if reason is not None)
    if refused:
        words = ", ".join(f"{reason} {n:,}" for reason, n in sorted(refused.items()))
        first = next(seq for seq, reason in zip(events["seq"].to_pylist(), reasons, strict=True) if reason is not None)
        say("longtail", f"{refused.total():,} events are skipped ({words}); the first is number {first} of the store")
    return events.filter(pa.array([reason is None for reason in reasons], pa.bool_()))


def columns(batch: Batch, names: Table) -> pa.Table:
    """Return the events with the column names of the source's files; a missing value becomes the least valid one."""
    events, mapped = batch.events, names.columns
    found: dict[str, Any] = {mapped.user_id: events["user_id"], mapped.item_id: events["item_id"]}
    if mapped.value is not None:
        least = max(names.min_value or 0.0, 1.0)
        found[mapped.value] = [least if value is None else value for value in events["value"].to_pylist()]
    if mapped.timestamp is not None:
        found[mapped.timestamp] = events["timestamp"]
    return pa.table(found)
