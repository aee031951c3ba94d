"""per_user.parquet: the results of every model for every user, from which a policy can be decided repeatedly.

One row per model and user, users in the same order for all models: metrics (null if undefined), the list, and the
slices of the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.evaluation.measure import Evaluation
from models.evaluation.metric import Bools, Lists
from models.evaluation.slices import Names, members
from pipelines.artifacts import tables
from pipelines.artifacts.per_user_check import check_columns, check_users, check_values

SLICING, COUNT = "slice:", "count:"  # prefixes of the columns of slicings, and of numerators and denominators


def table(
    results: Mapping[str, Evaluation], user_idx: npt.NDArray[np.int32], slicings: Mapping[str, Names]
) -> pa.Table:
    """Return the table of evaluations by model, with the slices of the users."""
    parts = []
    sliced = {f"{SLICING}{name}": pa.array(values.tolist()).dictionary_encode() for name, values in slicings.items()}
    for name, result in results.items():
        columns = {key: pa.array(values, pa.float64(), from_pandas=True) for key, values in result.per_user.items()}
        columns |= {f"{COUNT}{key}": pa.array(values, pa.float64()) for key, values in result.counts.items()}
        listed = result.lists >= 0
        ends = pa.array(np.concatenate([[0], listed.sum(axis=1).cumsum()]), pa.int32())
        items = pa.ListArray.from_arrays(ends, pa.array(result.lists[listed], pa.int32()))
        model = pa.array([name] * len(user_idx), pa.string())
        rows = {"model": model, "user_idx": pa.array(user_idx, pa.int32()), **sliced, **columns, "items": items}
        parts.append(pa.table(rows))
    return pa.concat_tables(parts)


def read(path: Path, *, n_items: int) -> tuple[dict[str, Evaluation], dict[str, Bools]]:
    """Return evaluations by model, and the members of each slice (n_users,), by `<slicing>=<value>`.

    Raises ValueError if the models were evaluated on different users, or values are not valid for their metrics.
    """
    everything = tables.read(path)
    try:
        values = [name for name in everything.column_names if "@" in name or name.startswith(COUNT)]
        check_columns(everything, values, n_items=n_items)
        models = [str(name) for name in everything["model"].unique().to_pylist()]
        parts = {name: everything.filter(pc.equal(everything["model"], pa.scalar(name))) for name in models}
        check_users(parts)
        evaluations = {model: evaluation(part) for model, part in parts.items()}
        for model, each in evaluations.items():
            check_values(model, each)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; run `dvc repro --force --downstream evaluate`") from None
    return evaluations, slices(parts[models[0]])


def users(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Return user_idx (n_users,) of the rows of every evaluation."""
    table: Any = tables.read(path, ["model", "user_idx"])
    of_first = pc.equal(table["model"], table["model"][0])
    found: npt.NDArray[np.integer[Any]] = table.filter(of_first)["user_idx"].to_numpy()
    return found


def evaluation(part: pa.Table) -> Evaluation:
    """Return the evaluation of one model."""
    counts = [name for name in part.column_names if name.startswith(COUNT)]
    metrics = [name for name in part.column_names if "@" in name and name not in counts]
    return Evaluation(
        {name: part[name].to_numpy() for name in metrics},
        padded(part["items"]),
        {name.removeprefix(COUNT): part[name].to_numpy() for name in counts},
    )


def slices(users: pa.Table) -> dict[str, Bools]:
    """Return the members (n_users,) of every slice in the table."""
    found: dict[str, Bools] = {}
    for column in users.column_names:
        if column.startswith(SLICING):
            values = np.array(users[column].to_pylist(), np.str_)
            found |= {f"{column.removeprefix(SLICING)}={name}": chosen for name, chosen in members(values).items()}
    return found


def padded(lists: pa.ChunkedArray[Any]) -> Lists:
    """Return lists of any length as one array (n_users, longest), -1 after their ends."""
    lengths = pc.list_value_length(lists).to_numpy()
    array = np.full((len(lengths), lengths.max(initial=0)), -1, np.int32)
    array[np.arange(array.shape[1]) < lengths[:, None]] = pc.list_flatten(lists).to_numpy()
    return array
