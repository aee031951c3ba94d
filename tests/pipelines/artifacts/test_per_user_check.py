"""Invalid values in per_user.parquet are rejected: each is written into a valid evaluation, and judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.artifacts import outputs, tables
from pipelines.evaluate import stage as evaluate
from pipelines.gate import stage as gate
from tests.conftest import Workspace
from tests.pipelines import holdouts
from tests.pipelines.holdouts import N_ITEMS, N_USERS, model

FOLDER = Path("data/evaluate")
PER_USER = FOLDER / "per_user.parquet"
Change = Callable[[pa.Table], pa.Table]


@pytest.fixture
def evaluated(workspace: Workspace) -> Workspace:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.9))
    evaluate.main()
    return workspace


def rewrite(change: Change) -> None:
    """The table changed, with a manifest that fits."""
    table, inputs = tables.read(PER_USER), outputs.read_manifest(FOLDER)["inputs"]
    (FOLDER / "manifest.json").unlink()
    PER_USER.unlink()
    tables.write(change(table), PER_USER)
    outputs.write_manifest(FOLDER, stage="evaluate", inputs=inputs)


def column(name: str, values: Callable[[pa.Table], Any]) -> Change:
    return lambda table: table.set_column(table.column_names.index(name), name, values(table))


def of_model(name: str, chosen: str, value: float, *, users: int = N_USERS) -> Change:
    """A metric of one model with another value for its first users."""

    def values(table: pa.Table) -> pa.Array[Any]:
        found = table[name].to_numpy().copy()
        rows = np.flatnonzero(np.array(table["model"].to_pylist()) == chosen)[:users]
        found[rows] = value
        return pa.array(found, pa.float64(), from_pandas=True)

    return column(name, values)


def constant(value: Any, kind: Any) -> Callable[[pa.Table], pa.Array[Any]]:
    return lambda table: pa.array([value] * table.num_rows, kind)


ITEMS = pa.list_(pa.int32())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.slice(0, 0), "it has no rows"),
        (lambda table: table.drop_columns(["items"]), "column items is missing, unlike in the output of evaluate"),
        (column("model", constant(None, pa.string())), "column model is null in 2400 rows"),
        (column("user_idx", constant(None, pa.int32())), "column user_idx is null in 2400 rows"),
        (column("items", constant(None, ITEMS)), "column items is null in 2400 rows"),
        (
            column("items", constant([0, None], ITEMS)),
            "its lists have items from 0 to 0, 2400 of them null, expected 0 to 47",
        ),
        (
            column("items", constant([N_ITEMS], ITEMS)),
            "its lists have items from 48 to 48, 0 of them null, expected 0 to 47",
        ),
        (
            column("items", constant([-1, 2], ITEMS)),
            "its lists have items from -1 to 2, 0 of them null, expected 0 to 47",
        ),
        (column("items", constant([1, 2, 1], ITEMS)), "lists of candidate repeat an item for 480 users"),
        (column("ndcg@10", lambda table: table["ndcg@10"].cast(pa.string())), "column ndcg@10 is string"),
        (lambda table: pa.concat_tables([table, table]), "users have more than one row, 480 too many for each model"),
        (lambda table: table.slice(1), "it has other users for some models"),
        (of_model("ndcg@10", "candidate", np.inf, users=1), "ndcg@10 of candidate is inf for 1 users, expected 0 to 1"),
        (of_model("arp@10", "champion", np.inf), "arp@10 of champion is inf for 480 users, expected 0 to inf"),
        (of_model("ndcg@10", "candidate", 2.0), "ndcg@10 of candidate is 2 for 480 users, expected 0 to 1"),
        (of_model("ndcg@10", "champion", -1.0), "ndcg@10 of champion is -1 for 480 users, expected 0 to 1"),
        (of_model("count:hits_tail@10", "random", -1.0), "count hits_tail@10 of random is -1 for 480 users"),
        (of_model("count:hits_tail@10", "random", np.nan), "count hits_tail@10 of random is nan for 480 users"),
    ],
)
def test_values_that_no_evaluation_has_are_an_error_that_names_the_file(
    evaluated: Workspace, change: Change, message: str
) -> None:
    rewrite(change)
    with pytest.raises(ValueError, match=rf"^{PER_USER}: {message}.*; run `dvc repro --force --downstream evaluate`$"):
        gate.main()
    assert not Path("data/gate").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.filter(pc.greater(table["user_idx"], pa.scalar(9))),
            r"/per_user.parquet has candidate, .* on \[470\] users, metrics.json has candidate, .* on 480",
        ),
        (
            of_model("ndcg@10", "random", 0.9),
            r": ndcg@10 of random is 0\.9 by per_user\.parquet and 0\.\d+ by metrics\.json",
        ),
        (of_model("ndcg@10", "random", np.nan), ": ndcg@10 of random is nan by per_user.parquet"),
        (
            column("items", constant([11, 12], ITEMS)),
            ": (entropy|gini|item_coverage)@10 of candidate is .* by per_user.parquet",
        ),
    ],
)
def test_values_that_do_not_amount_to_the_figures_are_an_error(
    evaluated: Workspace, change: Change, message: str
) -> None:
    rewrite(change)
    with pytest.raises(ValueError, match=rf"^data/evaluate{message}.*; run `dvc repro --force --downstream evaluate`$"):
        gate.main()
