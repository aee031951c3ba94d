"""Pairs of the present holdout that a release was trained or chosen on, counted in its own data.

The settings of both splits say only that it may have seen some: tables that share no user and no item share no pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.evaluation import leakage
from models.evaluation.leakage import Split
from pipelines.artifacts import outputs, tables
from pipelines.artifacts.outputs import DATA
from pipelines.registry import version_files
from pipelines.runtime.console import say

Idx = npt.NDArray[np.int64]
PAIR = ("user_idx", "item_idx")


def counted(stage: outputs.StageRun, releases: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Return `pairs` seen `of` the holdout's, by version, of the releases that may have seen some by their settings.

    releases: identities by the prefix of their files in the stage's output. A release whose data are nowhere is left
    out: what it has seen is unknown.
    """
    split = {
        name: stage.input("split", name) for name in ("holdout.json", "items.parquet", "test.parquet", "users.parquet")
    }
    now = outputs.read_json(split["holdout.json"])
    found: dict[str, dict[str, int]] = {}
    for prefix, release in releases.items():
        version, then = release["version"], release.get("split")
        if then is None or version in found or leakage.seen(Split.of(then), Split.of(now)) is None:
            continue
        own_items = tables.read(stage.output(f"{prefix}items.parquet"), ["item_id"])[0]
        try:
            found[version] = count(
                split, release, own_items, same_users=then.get("user_space") == now.get("user_space")
            )
        except FileNotFoundError as error:
            say("champion", f"what {version} has seen of this holdout cannot be counted: {error}")
    return found


def count(
    split: Mapping[str, Path], release: Mapping[str, Any], own_items: pa.ChunkedArray[Any], *, same_users: bool
) -> dict[str, int]:
    """Count the pairs of test that are in train or valid of a release; raises FileNotFoundError if DVC lacks these."""
    pairs = tables.read(split["test.parquet"], list(PAIR))
    items = tables.read(split["items.parquet"], ["item_id"])[0]
    users = tables.read(split["users.parquet"], ["user_id"])[0]
    item_there = places(items, own_items)[pairs["item_idx"].to_numpy()]
    if (item_there < 0).all():
        return {"pairs": 0, "of": pairs.num_rows}
    if not same_users:
        raise FileNotFoundError("its users have other pseudonyms, so that pairs cannot be compared")
    own_users = fetched(release, "users.parquet", ["user_id"])[0]
    user_there = places(users, own_users)[pairs["user_idx"].to_numpy()]
    known = (item_there >= 0) & (user_there >= 0)
    wanted = user_there[known] * len(own_items) + item_there[known]
    seen = np.zeros(len(wanted), np.bool_)
    for part in ("train", "valid") if len(wanted) else ():
        own = fetched(release, f"{part}.parquet", list(PAIR))
        own_user, own_item = (own[name].to_numpy().astype(np.int64) for name in PAIR)
        seen |= np.isin(wanted, own_user * len(own_items) + own_item)
    return {"pairs": int(seen.sum()), "of": pairs.num_rows}


def places(ids: pa.ChunkedArray[Any], among: pa.ChunkedArray[Any]) -> Idx:
    """Return the place of each id among others, -1 if it is not one of them."""
    found: Idx = pc.index_in(ids, value_set=among.combine_chunks()).fill_null(-1).to_numpy().astype(np.int64)
    return found


def fetched(release: Mapping[str, Any], name: str, columns: list[str]) -> pa.Table:
    """Read columns of a table in data/split of a release, from DVC."""
    path = DATA / "split" / name
    try:
        with version_files.files_at(release["commit"]) as fs, fs.open(path.as_posix(), "rb") as file:
            return pq.read_table(file, columns=columns)
    except Exception as error:  # DVC's remotes raise the errors of their drivers
        what = f"{path} of {release['version']}"
        raise FileNotFoundError(f"{what} is neither in the DVC cache nor in a remote") from error
