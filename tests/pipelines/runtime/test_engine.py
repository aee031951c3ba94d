"""The engine's failures in words: memory, disk, and everything else as it is."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from pipelines.artifacts.outputs import StageRun
from pipelines.runtime import engine

MANY = "create table t as select md5(range::varchar) as m from range(1000000) order by m"


@pytest.mark.slow
def test_what_does_not_fit_into_memory_spills_and_nothing_of_it_remains(tmp_path: Path) -> None:
    with engine.connect(StageRun("split", tmp_path), "60MB") as con:
        con.execute(MANY)
        assert con.execute("select count(distinct m) from t").fetchall() == [(1_000_000,)]
        assert any(path.is_file() for path in tmp_path.rglob("*"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_with_its_folder(tmp_path: Path) -> None:
    statement = f"set max_temp_directory_size = '1MB'; {MANY}"
    with (
        pytest.raises(ValueError, match=rf"the disk of {tmp_path} .* raise split\.memory_limit, which is 60MB"),
        engine.connect(StageRun("split", tmp_path), "60MB") as con,
    ):
        con.execute(statement)
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_named_with_its_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"split\.memory_limit is 1MB, which is not enough .*; raise it"),
        engine.connect(StageRun("split", tmp_path), "1MB") as con,
    ):
        con.execute("select count(*) from (select range from range(10000000) order by hash(range))").fetchall()


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(duckdb.CatalogException), engine.connect(StageRun("split", tmp_path), "1GB") as con:
        con.execute("from nowhere")


@pytest.mark.parametrize("message", ["IO Error: Could not write file: No space left on device", "File too large"])
def test_the_operating_systems_words_for_a_full_disk_are_understood(message: str) -> None:
    assert "make room on that disk" in str(engine.shortage(message, Path("data"), "ingest.memory_limit", "1GB"))
