"""Interactions that fail custom expectations and are left out of training, each stored with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts import tables

NAME = "quarantine.parquet"
_columns: list[pa.Field[Any]] = [
    pa.field("user_id", pa.string(), nullable=False),
    pa.field("item_id", pa.string(), nullable=False),
    pa.field("code", pa.string(), nullable=False),  # of the expectation
    pa.field("reason", pa.string(), nullable=False),  # the expected property of every row
]
SCHEMA = pa.schema(_columns)
KEPT = """
    select i.* from ({interactions}) i
    where not exists (select 1 from {quarantine} q where q.user_id = i.user_id and q.item_id = i.item_id)
"""


def write(failed: Sequence[dict[str, str]], path: Path) -> None:
    """Write one row for each interaction and expectation that it fails, in the order of ids."""
    rows = pa.Table.from_pylist(list(failed), schema=SCHEMA)
    tables.write(rows.sort_by([(name, "ascending") for name in SCHEMA.names]), path)


def n_interactions(failed: Iterable[dict[str, str]]) -> int:
    return len({(row["user_id"], row["item_id"]) for row in failed})


def words(failed: Sequence[dict[str, str]]) -> str:
    """Return a sentence with the number of interactions left out and the expectations that they fail."""
    counts = Counter(row["code"] for row in failed)
    n = n_interactions(failed)
    of = ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))
    return f"{n} interaction{'s' * (n > 1)} left out, see data/validate/{NAME} ({of})"


def without(interactions: str, path: Path, quarantine: str) -> str:
    """Return SQL of the interactions that are not in the file at `path`; `quarantine`: SQL of its rows."""
    if not pq.read_metadata(path).num_rows:
        return interactions
    return KEPT.format(interactions=interactions, quarantine=quarantine)
