"""slices.csv: every model's metrics for groups of users and of items, with their sample sizes.

A row per slice and model. `of`: users or items, `n`: their number, `n_events`: test events of the slice; a slice is
`small` if it has fewer users or events than the settings require. Tail recall is of the `n_tail_users` with a test
event on the tail alone, and `small_tail` if these are too few.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from models.evaluation import slices
from models.evaluation.measure import Evaluation, Relevant
from models.evaluation.metric import Catalogue
from models.evaluation.slices import Names
from pipelines.settings.evaluate import Slices

MAX_VALUES = 100  # a column with more is not a category
Slicings = dict[str, Names]


def of_users(histories: csr_array[Any], catalogue: Catalogue, users: pa.Table, names: Sequence[str]) -> Slicings:
    """Return the slicings of the rows' users: by group, by length of history, by the given columns of `users`."""
    found = {
        "group": slices.user_groups(histories, catalogue.is_tail),
        "history": slices.history_lengths(histories),
    }
    return found | {name: categories(users, name, "users", apart_from=found) for name in names}


def of_items(catalogue: Catalogue, items: pa.Table, names: Sequence[str]) -> Slicings:
    """Return the slicings of the items: by popularity decile, by part, by the given columns of `items`."""
    found = slices.item_slicings(catalogue)
    return found | {name: categories(items, name, "items", apart_from=found) for name in names}


def categories(table: pa.Table, name: str, what: str, *, apart_from: Slicings) -> Names:
    """Return a column as text, "" for null and NaN.

    Raises ValueError if it is missing, has too many values, has lists as values, or has the name of another slicing.
    """
    if name in apart_from:
        raise ValueError(f"evaluate.slices.{what}: {name!r} is the name of a built-in slicing; rename the column")
    if name not in table.column_names:
        raise ValueError(
            f"evaluate.slices.{what}: there is no column {name!r}; data/split/{what}.parquet has "
            f"{', '.join(table.column_names)}"
        )
    column = table[name].combine_chunks()
    if pa.types.is_nested(column.type):
        raise ValueError(f"evaluate.slices.{what}: {name!r} is {column.type}, expected categories; set another column")
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    encoded = column.dictionary_encode()
    if (n := len(encoded.dictionary)) > MAX_VALUES:
        raise ValueError(
            f"evaluate.slices.{what}: {name!r} has {n:,} values, expected at most {MAX_VALUES}; set another column"
        )
    values: Names = np.array(["", *map(str, encoded.dictionary.to_pylist())], dtype=object)
    return np.asarray(values[1 + encoded.indices.fill_null(-1).to_numpy()])


def rows(
    results: Mapping[str, Evaluation],
    relevant: Relevant,
    catalogue: Catalogue,
    users: Slicings,
    items: Slicings,
    *,
    k: int,
    params: Slices,
) -> Iterator[dict[str, Any]]:
    """Return the rows of slices.csv, slices of users first."""
    columns = [f"{name}@{k}" for name in (*slices.USER_METRICS, "exposure", "item_coverage")]
    wants_tail = np.bincount(relevant.among(catalogue.is_tail).rows, minlength=next(map(len, users.values()))) > 0
    for of, slicings in (("users", users), ("items", items)):
        of_event = relevant.rows if of == "users" else relevant.items
        for slicing, values in slicings.items():
            for name, chosen in slices.members(values).items():
                n, n_events = int(chosen.sum()), int(chosen[of_event].sum())
                small = (n if of == "users" else n_events) < params.small
                head = {"of": of, "slicing": slicing, "slice": name, "n": n, "n_events": n_events, "small": small}
                n_tail = int((chosen & wants_tail).sum()) if of == "users" else None
                head |= {"n_tail_users": n_tail, "small_tail": None if n_tail is None else n_tail < params.small}
                for model, result in results.items():
                    if of == "users":
                        found = slices.of_users(result, chosen, n_items=len(catalogue.is_tail), k=k)
                    else:
                        found = slices.of_items(result.lists, relevant, chosen, catalogue, k=k)
                    yield head | {"model": model} | dict.fromkeys(columns, np.nan) | found
