"""Checks of per_user.parquet before a policy decides from it; each raises ValueError for an invalid table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.evaluation import measure, metrics
from models.evaluation.measure import Evaluation
from models.evaluation.metric import Catalogue, Floats, Lists

ROUNDING = 1e-4  # tolerance of a metric's range: cosines of float32 vectors exceed 1
EQUAL = 1e-9  # relative tolerance for equal means


def check_columns(table: pa.Table, values: list[str], *, n_items: int) -> None:
    """Check types, nulls and item_idx of the columns; only `values` of metrics may be null."""
    types = pa.types
    kinds: dict[str, Any] = {
        "model": types.is_string,
        "user_idx": types.is_integer,
        "items": lambda of: types.is_list(of) and types.is_integer(of.value_type),
    }
    if not table.num_rows:
        raise ValueError("it has no rows")
    for name in (*kinds, *values):
        if name not in table.column_names or not kinds.get(name, types.is_floating)(table[name].type):
            found = table[name].type if name in table.column_names else "missing"
            raise ValueError(f"column {name} is {found}, unlike in the output of evaluate")
    for name in kinds:
        if table[name].null_count:
            raise ValueError(f"column {name} is null in {table[name].null_count} rows")
    listed = pc.list_flatten(table["items"])
    least, greatest = pc.min(listed).as_py(), pc.max(listed).as_py()
    if listed.null_count or (len(listed) and not 0 <= least <= greatest < n_items):
        raise ValueError(
            f"its lists have items from {least} to {greatest}, {listed.null_count} of them null, expected 0 to "
            f"{n_items - 1}"
        )


def check_users(parts: Mapping[str, pa.Table]) -> None:
    """Check that every model has the same users in the same order, each once."""
    first, *others = (part["user_idx"] for part in parts.values())
    if any(not each.equals(first) for each in others):
        raise ValueError("it has other users for some models")
    if repeated := len(first) - pc.count_distinct(first).as_py():
        raise ValueError(f"users have more than one row, {repeated} too many for each model")


def check_values(model: str, evaluation: Evaluation) -> None:
    """Check that values are within the range of their metric, and that no list repeats an item."""
    for name, values in evaluation.per_user.items():
        metric = metrics.look_up(name)[1]
        check_range(f"{name} of {model}", values[~np.isnan(values)], metric.lowest, metric.highest)
    for name, values in evaluation.counts.items():
        check_range(f"count {name} of {model}", values, 0.0, math.inf)
    if users := repeating(evaluation.lists):
        raise ValueError(f"lists of {model} repeat an item for {users} users")


def check_range(what: str, values: Floats, lowest: float, highest: float) -> None:
    within = np.isfinite(values) & (values >= lowest - ROUNDING) & (values <= highest + ROUNDING)
    if not within.all():
        wrong = values[~within]
        raise ValueError(f"{what} is {wrong[0]:g} for {len(wrong)} users, expected {lowest:g} to {highest:g}")


def repeating(lists: Lists) -> int:
    """Count the lists (n_users, k) that repeat an item."""
    ordered = np.sort(lists, axis=1)
    return int(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1).sum())


def check_sums(evaluations: Mapping[str, Evaluation], recorded: Mapping[str, Any], catalogue: Catalogue) -> None:
    """Check that the figures of metrics.json follow from the values of users."""
    for model, evaluation in evaluations.items():
        ks = sorted({metrics.look_up(name)[2] for name in evaluation.per_user})
        figures, expected = measure.summary(evaluation, catalogue, ks=ks), recorded["models"][model]
        for name in {**expected, **figures}:
            found, other = (each.get(name, math.nan) for each in (figures, expected))
            if not math.isclose(found, other, rel_tol=EQUAL, abs_tol=EQUAL):
                raise ValueError(
                    f"data/evaluate: {name} of {model} is {found:g} by per_user.parquet and {other:g} by metrics.json; "
                    "run `dvc repro --force --downstream evaluate`"
                )
