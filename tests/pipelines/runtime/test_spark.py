"""Spark gives what DuckDB gives, row by row: ingest from parquet, validate and split."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.ingest import stage as ingest
from pipelines.runtime import spark
from pipelines.settings.document import load
from pipelines.settings.engine import Engine
from pipelines.split import parts
from pipelines.split import stage as split
from pipelines.validate import report as validate_report
from pipelines.validate import stage as validate
from tests import system
from tests.conftest import Workspace
from tests.pipelines import canonical
from tests.pipelines.canonical import write_validate
from tests.pipelines.engines import use

COLUMNS = {"user_id": "user", "item_id": "item", "value": "stars", "timestamp": "time"}
ODD_IDS = ["NA", "null", "0007", " 7 ", "é", "🙂", "日本", "\x1b", "", None, "x" * 300, "\u00a0"]
ODD_STARS = [float("nan"), float("inf"), -1.0, 0.0, 1e39, None, 1e-40, 2.5]
N = 20_000
ROWS = canonical.rows(60, 60)


def write_events(path: Path) -> None:
    """Events of every kind, good and bad, of which some pairs come twice."""
    rng = np.random.default_rng(0)
    users: list[str | None] = [f"u{n}" for n in rng.integers(0, 500, N)]
    items: list[str | None] = [f"i{n}" for n in rng.zipf(1.3, N) % 300]
    stars = list(rng.integers(1, 11, N) / 2)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times: list[Any] = [
        start + timedelta(seconds=int(n), microseconds=n_us) for n_us, n in enumerate(rng.integers(0, 10**7, N))
    ]
    for place, odd in enumerate(ODD_IDS):
        users[place * 100 : place * 100 + 3] = [odd] * 3
        items[place * 100 + 50] = odd
    for place, odd_stars in enumerate(ODD_STARS):
        stars[5000 + place] = odd_stars
    times[6000:6003] = [None, datetime(1969, 1, 1, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC)]
    table = pa.table(
        {"user": users, "item": items, "stars": stars, "time": pa.array(times, pa.timestamp("us", tz="UTC"))}
    )
    path.parent.mkdir()
    pq.write_table(table.append_column("also", pa.array([{"a": n} for n in range(N)])), path, row_group_size=5000)


@pytest.fixture
def source(workspace: Workspace) -> Workspace:
    write_events(Path("raw/day [1].parquet"))
    pq.write_table(
        pa.table({"id": [f"i{n}" for n in range(1, 300)] + ODD_IDS[:7], "name": ["name"] * 306}), "raw/items.parquet"
    )
    some = [*(f"u{n}" for n in range(0, 500, 3)), *ODD_IDS]
    described = {"user_id": some, "Land (of birth), ö": [None, *["Ü"] * (len(some) - 1)], 'a."b`': some}
    pq.write_table(pa.table(described), "raw/users.parquet")
    workspace.params("ingest", {"source": "table", "path": "raw", "table.columns": COLUMNS})
    workspace.params("ingest", {"table.users": ["users.parquet"]})
    workspace.params("ingest", {"table.interactions": ["day*.parquet"], "table.min_value": 1.0, "max_rejected": 0.5})
    workspace.params("ingest", {"table.item_columns": {"item_id": "id", "title": "name"}, "table.text": "{name}"})
    return workspace


@pytest.fixture
def java(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that Spark finds."""
    if "JAVA_HOME" not in os.environ:
        folder = Path(system.program("java")).parent
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def run(workspace: Workspace, name: str, *, splits: bool) -> Path:
    """Ingest, and split if asked for, by an engine; the folder that they wrote, moved aside."""
    use(workspace, name)
    shutil.rmtree(".longtail", ignore_errors=True)  # partitions of the other engine
    ingest.main()
    if splits:
        write_validate()
        split.main()
    return Path("data").rename(name)


def differences(one: Path, other: Path) -> int:
    """Rows of either file that are not in the other, counted as often as they occur."""
    with duckdb.connect() as con:
        query = "select count(*) from (from read_parquet('{}') except all from read_parquet('{}'))"
        return sum(con.sql(query.format(*pair)).fetchall()[0][0] for pair in ((one, other), (other, one)))


@pytest.mark.slow
@pytest.mark.parametrize("items", [[], ["items.parquet"]])
def test_spark_gives_the_rows_that_duckdb_gives(
    source: Workspace, java: None, items: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source.params("ingest", {"table.items": items})
    monkeypatch.setattr(parts, "WINDOW", 100)
    splits = not items  # which goes by the items of ingest, wherever it has them from
    embedded, spark = (run(source, name, splits=splits) for name in ("duckdb", "spark"))
    files = sorted(path.relative_to(embedded) for path in embedded.rglob("*.parquet"))
    assert len(files) == (10 if splits else 4)
    assert {str(file): differences(embedded / file, spark / file) for file in files} == {str(file): 0 for file in files}
    for name in ("ingest/summary.json", "split/holdout.json")[: 1 + splits]:
        assert (embedded / name).read_bytes() == (spark / name).read_bytes()
    assert pq.read_metadata(embedded / "ingest/rejected.parquet").num_rows > 40


@pytest.fixture
def abroad(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is not that of the data."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def broken() -> tuple[pa.Table, pa.Table]:
    """Interactions and items in which nearly every expectation fails, some by a single row."""
    odd: list[Any] = [0.0, -1.0, float("nan"), float("inf"), None]
    many = [*ROWS[:80], *(("loud", f"i{n:03}", 1.0, canonical.day(1)) for n in range(60))]
    good = canonical.interactions(many)
    columns = {name: good[name].to_pylist() for name in good.column_names}
    columns["value"][10:15] = odd
    columns["user_id"][20:23] = ["", "u" * 513, None]
    columns["item_id"][30:33] = [columns["item_id"][29], None, "unknown"]
    columns["n_events"][40] = 0
    columns["timestamp"][50:53] = [None, datetime(1970, 1, 1, 0, 0, 0, 120, UTC), datetime(2150, 1, 1, tzinfo=UTC)]
    texts = ["The same, words", "the same WORDS!", " ", "", "ΟΔΟΣ", "οδος", "слова", None, *["words"] * 53]
    items = canonical.catalogue([*canonical.item_ids(60), "i000"], text=texts, title=[None, *["title"] * 60])
    return pa.table(columns, schema=good.schema), items


@pytest.mark.slow
def test_great_expectations_says_the_same_of_good_and_of_broken_tables(
    workspace: Workspace, java: None, monkeypatch: pytest.MonkeyPatch, abroad: None
) -> None:
    workspace.params("validate", {"min_interactions": 100})
    judge, reports = validate_report.judge, []

    def recorded(*of: Any, **how: Any) -> dict[str, Any]:
        reports.append(judge(*of, **how))
        return reports[-1]

    monkeypatch.setattr(validate_report, "judge", recorded)
    profiles = []
    for name in ("duckdb", "spark"):
        use(workspace, name)
        shutil.rmtree(".longtail", ignore_errors=True)  # the profile of the good version
        canonical.write_ingest(canonical.interactions(ROWS), canonical.catalogue(canonical.item_ids(60)))
        validate.main()
        profiles.append(Path("data/validate/profile.json").read_bytes())
        canonical.write_ingest(*broken())
        with pytest.raises(ValueError, match=r"\d+ of 35 expectations failed"):
            validate.main()
    good, bad, good_on_spark, bad_on_spark = reports
    assert good_on_spark == good
    assert profiles[0] == profiles[1]
    for one, other in zip(bad["expectations"], bad_on_spark["expectations"], strict=True):
        assert other == one
    assert bad_on_spark == bad
    assert sum(not check["success"] for check in bad["expectations"]) == 20
    assert not any(check["error"] for check in bad["expectations"])


def test_ids_keep_their_order_however_many_windows_they_are_sorted_in(
    source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.main()
    write_validate()
    split.main()
    whole = [Path(f"data/split/{name}.parquet").read_bytes() for name in ("users", "items", "train")]
    monkeypatch.setattr(parts, "WINDOW", 7)
    split.main()
    assert [Path(f"data/split/{name}.parquet").read_bytes() for name in ("users", "items", "train")] == whole


def test_a_machine_without_java_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"needs Java 17 or 21, but there is no java in JAVA_HOME"):
        spark.libraries()


def test_an_installation_without_spark_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyspark.sql", None)
    with pytest.raises(ValueError, match=r"is not installed; run `pip install .*\.\[spark\]"):
        spark.libraries()


def test_an_unknown_engine_is_refused(workspace: Workspace) -> None:
    workspace.params("engine", {"name": "hive"})
    with pytest.raises(ValueError, match=r"engine.name is 'hive'"):
        load(Engine)
