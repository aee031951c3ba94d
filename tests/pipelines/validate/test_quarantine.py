"""A few interactions that fail expectations of one's own are left out with their reasons; many stop the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.artifacts import outputs
from pipelines.split import stage as split
from pipelines.validate import stage as validate
from tests import system
from tests.conftest import Workspace
from tests.pipelines.canonical import Row, catalogue, interactions, item_ids, rows, write_ingest
from tests.pipelines.engines import use

ROWS = list({row[:2]: row for row in rows(60, 60)}.values())
STARS = {
    "code": "stars",
    "table": "interactions",
    "expect": "expect_column_values_to_be_between",
    "kwargs": {"column": "value", "max_value": 5},
    "says": "no value is above 5",
    "remedy": "ask the shop",
}
LIKE = STARS | {"code": "known", "says": "no user is called bot", "expect": "expect_column_values_to_not_be_in_set"}
KNOWN = LIKE | {"kwargs": {"column": "user_id", "value_set": ["bot"]}}
ENGINES = ["duckdb", "spark"]


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    workspace.params("validate", {"min_interactions": 100, "custom": [STARS, KNOWN], "max_quarantined": 0.01})
    return workspace


def validated(of: list[Row]) -> dict[str, Any]:
    write_ingest(interactions(of), catalogue(item_ids(60)))
    validate.main()
    report: dict[str, Any] = outputs.read_json(Path("data/validate/report.json"))
    return report


def with_bad_rows(high: int, bots: int = 0) -> list[Row]:
    bad = [(user, item, 6.0, time) for user, item, _, time in ROWS[:high]]
    return [*bad, *ROWS[high:], *(("bot", item, 9.0, time) for _, item, _, time in ROWS[:bots])]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.slow
def test_few_are_left_out_with_their_reasons_and_all_others_are_split(workspace: Workspace, engine: str) -> None:
    if engine == "spark":
        system.program("java")
    use(workspace, engine)
    report = validated(with_bad_rows(2, bots=1))
    assert report["success"]
    assert report["n_quarantined"] == 3
    assert report["verdict"] == (
        "all 29 expectations hold; 3 interactions left out, see data/validate/quarantine.parquet (known 1, stars 3)"
    )
    kept = pq.read_table("data/validate/quarantine.parquet").to_pylist()
    assert [(row["user_id"], row["code"]) for row in kept][:2] == [("bot", "known"), ("bot", "stars")]
    assert kept[0]["reason"] == "no user is called bot"
    split.main()
    holdout = json.loads(Path("data/split/holdout.json").read_text("utf-8"))
    n = sum(holdout[f"n_{part}"] for part in ("train", "valid", "test")) + sum(holdout["left_out"].values())
    assert n == len(ROWS) - 2
    assert "bot" not in pq.read_table("data/split/users.parquet")["user_id"].to_pylist()


@pytest.mark.slow
def test_more_than_the_share_stop_the_run(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match=r"no value is above 5 \(20 of .*\): ask the shop \[stars\]"):
        validated(with_bad_rows(20))
    most = int(0.01 * len(ROWS))
    with pytest.raises(ValueError, match="no user is called bot"):  # each rule few, together too many
        validated([(u, i, 6.0, t) for u, i, _, t in ROWS[:most]] + [*ROWS[most:], ("bot", *ROWS[0][1:])])


@pytest.mark.slow
def test_a_share_of_nothing_leaves_nothing_out(workspace: Workspace) -> None:
    workspace.params("validate", {"max_quarantined": 0.0})
    with pytest.raises(ValueError, match=r"no value is above 5 \(1 of"):
        validated(with_bad_rows(1))


@pytest.mark.slow
def test_what_only_warns_stays_where_it_is(workspace: Workspace) -> None:
    workspace.params("validate", {"warn": ["stars"]})
    report = validated(with_bad_rows(1))
    assert (report["n_quarantined"], report["n_warnings"]) == (0, 1)


WHOLE: dict[str, dict[str, Any]] = {
    "expect_column_mean_to_be_between": {"max_value": 0.1},
    "expect_column_quantile_values_to_be_between": {
        "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0.0, 0.1]]}
    },
}


@pytest.mark.parametrize("expect", WHOLE)
@pytest.mark.slow
def test_an_expectation_of_a_whole_table_leaves_nothing_out(workspace: Workspace, expect: str) -> None:
    whole = STARS | {"expect": expect, "kwargs": {"column": "value", **WHOLE[expect]}}
    workspace.params("validate", {"custom": [whole]})
    with pytest.raises(ValueError, match=r"no value is above 5 \(found"):
        validated(ROWS)
