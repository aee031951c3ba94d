"""The ingest stage as a whole: accounts, merging, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import outputs, tables
from pipelines.ingest import stage as ingest
from pipelines.runtime.console import run
from tests.conftest import Workspace

OUT = Path("data/ingest")
KEPT = Path("data/ingest.rejected.parquet")
SMALL_DEMO = {"users": 50, "items": 200, "events": 600, "new_items": 20, "dirty_rows": 24, "seed": 1}


def rows(name: str) -> list[dict[str, Any]]:
    return list(tables.read(OUT / f"{name}.parquet").to_pylist())


def source(workspace: Workspace, text: str, **changes: Any) -> None:
    """Make `text` the interactions of a table source."""
    (workspace.root / "raw").mkdir(exist_ok=True)
    (workspace.root / "raw" / "interactions.csv").write_text(text, "utf-8")
    workspace.params("ingest", {"source": "table", "path": "raw"} | changes)


def demo(workspace: Workspace) -> None:
    workspace.params("ingest", {f"demo.{key}": value for key, value in SMALL_DEMO.items()} | {"max_rejected": 0.1})
    ingest.main()


def test_every_row_of_the_demo_is_in_a_pair_or_rejected(workspace: Workspace) -> None:
    demo(workspace)
    pairs, rejected = rows("interactions"), rows("rejected")
    assert sum(row["n_events"] for row in pairs) == 600
    assert len(rejected) == 24
    summary = outputs.read_json(OUT / "summary.json")
    assert summary["interactions"]["read"] == 624
    assert summary["interactions"]["accepted"] == 600
    assert sum(summary["interactions"]["reasons"].values()) == 24
    assert {"broken_quote", "wrong_field_count", "value_not_finite", "unknown_item"} <= {r["reason"] for r in rejected}
    assert len(rows("items")) == summary["n_items"] == 200


def test_the_outputs_are_sorted_typed_and_nothing_else_is_left(workspace: Workspace) -> None:
    demo(workspace)
    pairs = [(row["user_id"], row["item_id"]) for row in rows("interactions")]
    assert pairs == sorted(set(pairs))
    assert tables.read(OUT / "interactions.parquet").schema.equals(tables.INTERACTIONS)
    assert tables.read(OUT / "rejected.parquet").schema.equals(tables.REJECTED)
    items = tables.read(OUT / "items.parquet")
    assert items.schema.names == ["item_id", "title", "text", "description", "topic"]
    assert [row["item_id"] for row in rows("items")] == sorted(f"b{i:05d}" for i in range(200))
    assert {path.name for path in OUT.iterdir()} == {
        "interactions.parquet", "items.parquet", "users.parquet", "rejected.parquet", "summary.json", "manifest.json",
    }  # fmt: skip
    assert [path.name for path in Path("data").iterdir()] == ["ingest"]


def test_a_second_run_writes_the_same_bytes(workspace: Workspace) -> None:
    demo(workspace)
    first = outputs.read_manifest(OUT)
    demo(workspace)
    assert outputs.read_manifest(OUT) == first


@pytest.mark.parametrize(("rule", "value"), [("last", 2.0), ("max", 5.0), ("sum", 8.0)])
def test_events_of_a_pair_are_merged_by_the_rule_and_dated_by_the_first(
    workspace: Workspace, rule: str, value: float
) -> None:
    text = "user_id,item_id,rating,time\nu,i,5,1600000000\nu,i,1,1600000900\nu,i,2,1600000900\n"
    columns = {"user_id": "user_id", "item_id": "item_id", "value": "rating", "timestamp": "time"}
    source(workspace, text, duplicates=rule, **{"table.columns": columns})
    ingest.main()
    (pair,) = rows("interactions")
    assert (pair["value"], pair["n_events"], int(pair["timestamp"].timestamp())) == (value, 3, 1600000000)


def test_without_timestamps_the_last_line_wins(workspace: Workspace) -> None:
    columns = {"user_id": "user_id", "item_id": "item_id", "value": "rating", "timestamp": None}
    source(workspace, "user_id,item_id,rating\nu,i,5\nu,j,3\nu,i,4\n", **{"table.columns": columns})
    ingest.main()
    assert [(r["item_id"], r["value"], r["timestamp"]) for r in rows("interactions")] == [
        ("i", 4, None),
        ("j", 3, None),
    ]


def test_too_many_malformed_rows_stop_the_run_and_are_kept(workspace: Workspace) -> None:
    source(workspace, "user_id,item_id\n" + "u,i\n" * 8 + ",i\nu\n", max_rejected=0.1)
    with pytest.raises(
        ValueError, match=r"20.00% of 10 rows .* empty_user_id 1, wrong_field_count 1; .*rejected.parquet"
    ):
        ingest.main()
    assert [row["line"] for row in tables.read(KEPT).to_pylist()] == [10, 11]
    assert not OUT.exists()
    workspace.params("ingest", {"max_rejected": 0.2})
    ingest.main()
    assert OUT.exists()
    assert not KEPT.exists()


def test_rows_that_the_settings_leave_out_are_not_malformed(workspace: Workspace) -> None:
    columns = {"user_id": "user_id", "item_id": "item_id", "value": "rating", "timestamp": None}
    (workspace.root / "raw").mkdir()
    (workspace.root / "raw" / "items.csv").write_text("item_id,title\ni,An item\n", "utf-8")
    source(
        workspace,
        "user_id,item_id,rating\nu,i,5\nu,i,1\nu,other,5\n",
        max_rejected=0.0,
        **{"table.columns": columns, "table.items": ["items.csv"], "table.min_value": 4.0},
    )
    ingest.main()
    assert [(row["line"], row["reason"]) for row in rows("rejected")] == [(3, "below_min_value"), (4, "unknown_item")]


def test_a_source_without_a_single_good_row_is_refused(workspace: Workspace) -> None:
    columns = {"user_id": "user_id", "item_id": "item_id", "value": "rating", "timestamp": None}
    source(workspace, "user_id,item_id,rating\nu,i,5\nv,i,4\n", **{"table.columns": columns, "table.min_value": 6.0})
    with pytest.raises(ValueError, match="none of the 2 rows of interactions was accepted: below_min_value 2"):
        ingest.main()
    assert tables.read(KEPT).num_rows == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("user_id,item_id\n", "a header but no rows"),
        (
            "user,item_id\nu,i\n",
            r"no column 'user_id', required by ingest.table.columns.user_id; it has 'user', 'item_id'",
        ),
        ("user_id;item_id\nu;i\n", r"ingest.table.delimiter right\?"),
        ('user_id,"item_id\nu,i\n', "expected the header"),
    ],
)
def test_a_file_that_cannot_be_the_source_is_refused(workspace: Workspace, text: str, problem: str) -> None:
    source(workspace, text)
    with pytest.raises(ValueError, match=problem):
        ingest.main()
    assert [path.name for path in Path("data").iterdir()] == []


def test_a_missing_file_is_named_with_what_is_there_instead(workspace: Workspace) -> None:
    source(workspace, "user_id,item_id\nu,i\n", **{"table.interactions": ["event*.csv"]})
    with pytest.raises(FileNotFoundError, match=r"raw/event\*.csv, which matches no.*raw contains interactions.csv"):
        ingest.main()
    workspace.params("ingest", {"path": "nowhere"})
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist; correct ingest\.path"):
        ingest.main()


def test_a_failed_run_leaves_the_last_good_output(workspace: Workspace) -> None:
    source(workspace, "user_id,item_id\nu,i\n")
    ingest.main()
    before = outputs.read_manifest(OUT)
    source(workspace, "user_id,item_id\n")
    with pytest.raises(ValueError, match="no rows"):
        ingest.main()
    assert outputs.read_manifest(OUT) == before


def test_the_manifest_names_what_was_read(workspace: Workspace) -> None:
    source(workspace, "user_id,item_id\nu,i\n")
    ingest.main()
    path = Path("raw/interactions.csv")
    assert outputs.read_manifest(OUT)["inputs"] == {path.as_posix(): outputs.sha256(path)}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"source": "spotify"}, "ingest.source is 'spotify'"),
        ({"max_rejected": "0.1"}, "ingest.max_rejected is '0.1'"),
        ({"demo.users": 2}, "ingest.demo.users is 2"),
        ({"demo.events": 10**6}, "events is 1000000, expected at most"),
        ({"demo.color": "red"}, "unknown key ingest.demo.color"),
        ({"sha256": "abc"}, "ingest.sha256 is 'abc'"),
        ({"source": "table", "path": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_bad_settings_end_in_one_line_and_status_1(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], problem: str
) -> None:
    workspace.params("ingest", changes)
    with pytest.raises(SystemExit) as ended:
        run(ingest.main, "ingest")
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ingest: error: ")
    assert problem in line
    assert not OUT.exists()
