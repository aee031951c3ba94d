"""Files that were read once are not read again, and the result equals that of reading everything anew."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.artifacts import outputs as artifacts
from pipelines.artifacts import tables
from pipelines.ingest import stage as ingest
from pipelines.ingest.canonical import partitions
from tests.conftest import Workspace

COLUMNS = {"user_id": "user", "item_id": "item", "value": "value", "timestamp": "time"}
HEADER = "user,item,value,time\n"


@pytest.fixture
def daily(workspace: Workspace) -> Workspace:
    """A source of daily files."""
    (workspace.root / "raw").mkdir()
    changes = {"source": "table", "path": "raw", "max_rejected": 1.0, "table.interactions": ["day-*.csv"]}
    workspace.params("ingest", changes | {"table.columns": COLUMNS})
    return workspace


def write(name: str, *lines: str) -> None:
    Path("raw", name).write_text(HEADER + "".join(f"{line}\n" for line in lines), "utf-8")


def outputs() -> dict[str, Any]:
    """sha256 of the outputs by name."""
    files: dict[str, Any] = artifacts.read_manifest(Path("data/ingest"))["files"]
    return files


def rejected() -> list[tuple[str, int, str]]:
    rows = tables.read(Path("data/ingest/rejected.parquet")).to_pylist()
    return [(row["file"], row["line"], row["reason"]) for row in rows]


def files_read(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.split()[2] for line in capsys.readouterr().out.splitlines() if line.startswith("ingest: reading ")]


GOOD = [
    f"{user},{item},{value},{1_600_000_000 + moment}"
    for user in "ab" for item in "xy" for value in (1, 2.5, 4) for moment in (0, 1, 86400)
]  # fmt: skip
BAD = ["a,x,none,1600000000", ",x,1,1600000000", "a,x", 'a,"x,1,1600000000', ""]
EVENTS = st.lists(st.sampled_from([*GOOD, *BAD]), max_size=8).map(lambda lines: [GOOD[0], *lines])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days=st.lists(EVENTS, min_size=2, max_size=4), rule=st.sampled_from(["last", "max", "sum"]), late=st.booleans())
@pytest.mark.slow
def test_appending_files_gives_what_reading_everything_gives(
    daily: Workspace, days: list[list[str]], rule: str, late: bool
) -> None:
    for path in Path("raw").glob("*"):
        path.unlink()
    shutil.rmtree(".longtail", ignore_errors=True)
    daily.params("ingest", {"duplicates": rule})
    order = list(enumerate(days))
    for number, lines in reversed(order) if late else order:  # late: what happened first arrives last
        write(f"day-{number}.csv", *lines)
        ingest.main()
    appended = outputs()
    shutil.rmtree(".longtail")
    ingest.main()
    assert outputs() == appended


@pytest.mark.parametrize("name", partitions.CODE)
def test_a_change_of_the_code_that_judges_rows_makes_another_partition(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(partitions, "CHECKOUT", workspace.root)
    before = partitions.key("d", {})
    assert partitions.key("d", {}) == before
    path = workspace.root / name
    (path / "room" / "new.py" if path.is_dir() else path).parent.mkdir(parents=True, exist_ok=True)
    (path / "room" / "new.py" if path.is_dir() else path).write_text("# another\n")
    assert partitions.key("d", {}) != before


def test_only_new_and_changed_files_are_read(daily: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write("day-1.csv", GOOD[0])
    write("day-2.csv", GOOD[1])
    ingest.main()
    assert files_read(capsys) == ["day-1.csv", "day-2.csv"]
    write("day-3.csv", GOOD[2], "a,x,none,1600000000")
    ingest.main()
    assert files_read(capsys) == ["day-3.csv"]
    write("day-2.csv", GOOD[1], GOOD[5])
    ingest.main()
    assert files_read(capsys) == ["day-2.csv"]
    assert rejected() == [("day-3.csv", 3, "value_not_a_number")]


def test_a_renamed_file_is_not_read_and_is_called_by_its_new_name(
    daily: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write("day-1.csv", GOOD[0], "a,x")
    ingest.main()
    Path("raw/day-1.csv").rename("raw/day-9.csv")
    capsys.readouterr()
    ingest.main()
    assert files_read(capsys) == []
    assert rejected() == [("day-9.csv", 3, "wrong_field_count")]


def test_other_settings_read_again(daily: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write("day-1.csv", "a,x,1,1600000000", "a,y,3,1600000000")
    ingest.main()
    daily.params("ingest", {"table.min_value": 2.0})
    capsys.readouterr()
    ingest.main()
    assert files_read(capsys) == ["day-1.csv"]
    assert rejected() == [("day-1.csv", 2, "below_min_value")]


def test_a_damaged_partition_is_not_used(daily: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write("day-1.csv", *GOOD)
    ingest.main()
    before = outputs()
    (rows,) = Path(".longtail/partitions").glob("*/rows.parquet")
    content = bytearray(rows.read_bytes())
    content[len(content) // 2] ^= 1
    rows.write_bytes(content)
    capsys.readouterr()
    ingest.main()
    assert files_read(capsys) == ["day-1.csv"]
    assert outputs() == before


@pytest.mark.slow
def test_a_catalogue_that_learns_or_forgets_an_item_judges_its_events_anew(
    daily: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    daily.params("ingest", {"table.items": ["items.csv"], "table.item_columns": {"item_id": "id", "title": "id"}})
    write("day-1.csv", "a,x,1,1600000000", "a,new,1,1600000000")
    write("day-2.csv", "a,x,1,1600000000", "a,y,1,1600000000")
    Path("raw/items.csv").write_text("id\nx\ny\n")
    ingest.main()
    assert rejected() == [("day-1.csv", 3, "unknown_item")]
    Path("raw/items.csv").write_text("id\nx\ny\nnew\nother\n")
    capsys.readouterr()
    ingest.main()
    assert files_read(capsys) == ["items.csv", "day-1.csv"]
    assert rejected() == []
    Path("raw/items.csv").write_text("id\nx\nnew\n")
    ingest.main()
    assert files_read(capsys) == ["items.csv", "day-2.csv"]
    assert rejected() == [("day-2.csv", 3, "unknown_item")]
    Path("raw/items.csv").write_text("id\nx\ny\n")
    ingest.main()
    assert files_read(capsys) == ["items.csv"]  # as it was at first
    assert rejected() == [("day-1.csv", 3, "unknown_item")]


@pytest.mark.slow
def test_lines_are_right_in_a_file_that_several_threads_read(daily: Workspace) -> None:
    daily.params("ingest", {"table.items": ["items.csv"], "table.item_columns": {"item_id": "id", "title": "id"}})
    Path("raw/items.csv").write_text("id\n" + "".join(f"i{n}\n" for n in range(5000)))
    lines = [f"u{n},i{n % 5000},1,{1_600_000_000 + n}" for n in range(400_000)]
    lines[300_000], lines[399_999], lines[5] = "u,unknown,1,1600000000", "u,i1,x,1600000000", ""
    write("day-1.csv", *lines)
    ingest.main()
    assert rejected() == [("day-1.csv", 300_002, "unknown_item"), ("day-1.csv", 400_001, "value_not_a_number")]


def test_partitions_that_nobody_used_for_a_week_are_removed(daily: Workspace) -> None:
    write("day-1.csv", GOOD[0])
    ingest.main()
    (first,) = Path(".longtail/partitions").iterdir()
    write("day-1.csv", GOOD[1])
    ingest.main()
    assert first.exists()
    old = time.time() - partitions.KEPT_FOR - 1
    os.utime(first, (old, old))
    ingest.main()
    assert not first.exists()
    assert len(list(Path(".longtail/partitions").iterdir())) == 1
