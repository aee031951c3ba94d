"""Files of the Bento that `bento/model/files.py` reads beside the model: items and users."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import save_file

from models.inference.postings import arrays_of_postings
from models.inference.strings import arrays_of

SEGMENTS = ("head", "tail", "cold")  # a cold item is a tail item without any training user
OWN = {"item_idx", "item_id", "title", "text", "popularity", "is_head", "is_tail", "is_cold"}
MAX_VALUES = 1000  # distinct values of a column for filters
SEPARATORS = re.compile(r" *[|,] *")  # between several values in one cell


def write_items(items: pa.Table, path: Path) -> None:
    """Items by item_idx: id, title, segment, popularity; and the items with each value of each further column."""
    ids, titles = ([str(value) for value in items[name].to_pylist()] for name in ("item_id", "title"))
    segment = np.where(items["is_cold"], 2, np.where(items["is_tail"], 1, 0)).astype(np.uint8)
    columns: dict[str, list[list[str]]] = {"segment": [[SEGMENTS[code]] for code in segment]}
    columns |= {name: held for name in items.column_names if name not in OWN and (held := cells(items[name]))}
    arrays = arrays_of("item_id", ids) | arrays_of("title", titles)
    arrays |= {"segment": segment, "popularity": items["popularity"].to_numpy().astype(np.int32)}
    arrays["order"] = np.array(sorted(range(len(ids)), key=lambda i: ids[i].encode()), np.int32)
    for number, held in enumerate(columns.values()):
        arrays |= arrays_of_postings(f"column.{number}", held)
    save_file(arrays, path, metadata={"columns": json.dumps(list(columns))})


def cells(column: pa.ChunkedArray[Any]) -> list[list[str]] | None:
    """Return the values of each item; None for a column that is unsuitable for filters.

    A text with several values also counts as one value, unless there are too many such texts.
    """
    kind, values = column.type, column.to_pylist()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return few([[] if value is None else [str(value).lower()] for value in values])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return few([[str(part) for part in parts or [] if part is not None] for parts in values])
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    held = [[part for part in re.split(SEPARATORS, str(value or "")) if part] for value in values]
    return few([[*cell, str(value)] if value else [] for cell, value in zip(held, values, strict=True)]) or few(held)


def few(held: list[list[str]]) -> list[list[str]] | None:
    return held if 0 < len({value for cell in held for value in cell}) <= MAX_VALUES else None


@dataclass(frozen=True)
class Users:
    """Users in order of user_id, and the items each has interacted with, as a CSR matrix."""

    user_id: list[str]
    offsets: npt.NDArray[np.int64]  # (n_users + 1,)
    item_idx: npt.NDArray[np.int32]  # (n_pairs,)

    def history(self, row: int) -> npt.NDArray[np.int32]:
        return self.item_idx[self.offsets[row] : self.offsets[row + 1]]

    def write(self, path: Path) -> None:
        save_file(arrays_of("user_id", self.user_id) | {"offsets": self.offsets, "item_idx": self.item_idx}, path)


def histories(interactions: pa.Table, items: pa.Table) -> Users:
    """Return the full histories, including valid and test: all items that a user has seen."""
    item_idx = pc.index_in(interactions["item_id"], value_set=items["item_id"])
    if item_idx.null_count:
        raise ValueError(f"data/split has no items for {item_idx.null_count} interactions; run `dvc repro split`")
    user_id = pc.unique(interactions["user_id"]).sort()
    user_idx = pc.index_in(interactions["user_id"], value_set=user_id).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user_idx, minlength=len(user_id)))])
    by_user = item_idx.to_numpy()[np.argsort(user_idx, kind="stable")]
    return Users([str(value) for value in user_id.to_pylist()], offsets.astype(np.int64), by_user.astype(np.int32))
