"""data/embed/near_duplicates.csv: pairs of items with texts of nearly the same meaning, nearest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from models.encoders.near_duplicates import near
from pipelines.artifacts.embeddings_file import Vectors

NAME = "near_duplicates.csv"
PAIRS = 2e9  # limit on compared pairs: half a minute. In a larger catalogue a sample is compared with all items
LISTED = 10_000
SEED = 0


def find(vectors: Vectors, items: pa.Table, *, cosine: float) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of the file, and a sentence about them. items: item_id and text of each row of vectors (n, t)."""
    n = len(vectors)
    asked = min(n, int(PAIRS // max(n, 1)))
    among = np.sort(np.random.default_rng(SEED).choice(n, asked, replace=False)) if asked < n else np.arange(n)
    found = [np.concatenate(part) for part in zip(*near(vectors, cosine=cosine, among=among), strict=True)]
    i, j, value = found or (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    order = np.argsort(-value, kind="stable")[:LISTED]
    sample = "" if asked == n else f" in a sample of {asked:,} items"
    summary = f"{len(i):,} pairs of items have texts of cosine {cosine:g} and more{sample}"
    return list(rows(items, i[order], j[order], value[order])), summary


def rows(items: pa.Table, first: Any, second: Any, cosine: Any) -> Iterator[dict[str, Any]]:
    left, right = items.take(first), items.take(second)
    for number, value in enumerate(cosine.tolist()):
        a, b = ({name: side[name][number].as_py() for name in ("item_id", "text")} for side in (left, right))
        yield {
            "cosine": round(value, 4), "same_text": int(a["text"] == b["text"]), "item_id": a["item_id"],
            "other_item_id": b["item_id"], "text": a["text"], "other_text": b["text"],
        }  # fmt: skip
