"""The contract of a file format: what ingest reads, forget finds and removes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.ingest import formats
from pipelines.ingest.formats import known
from pipelines.ingest.formats.format import File, into_table
from pipelines.ingest.formats.records import Dialect

COLUMNS = {"reader": ["u1", "u11", "u2", "u1"], "item": ["a", "b", "u1", "d"]}
KEPT = [("u11", "b"), ("u2", "u1")]


def write_text(path: Path) -> None:
    lines = ["reader,item", *(",".join(row) for row in zip(*COLUMNS.values(), strict=True))]
    with pa.output_stream(str(path)) as file:  # packed as its suffix says
        file.write("".join(f"{line}\n" for line in lines).encode())


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table(COLUMNS), path)


WRITERS: dict[str, Callable[[Path], None]] = {"delimited": write_text, "parquet": write_parquet}
FILES = [(each.__name__.rpartition(".")[2], suffix) for each in known.FORMATS for suffix in each.SUFFIXES]  # type: ignore[attr-defined]


def rows(file: File, scratch: Path) -> list[tuple[str, ...]]:
    """Rows of a file as ingest reads them."""
    scratch.mkdir()
    with duckdb.connect() as con:
        known.of(file.path).open_file(con, file, scratch).fill(into_table("kept"))
        return con.execute("select c0, c1 from kept order by seq").fetchall()


@pytest.mark.parametrize(("name", "suffix"), FILES)
def test_what_ingest_reads_of_a_user_is_found_and_left_out(tmp_path: Path, name: str, suffix: str) -> None:
    path, target = tmp_path / f"events{suffix}", tmp_path / "target"
    WRITERS[name](path)
    file = File(path, path.name, Dialect(",", '"'))
    assert rows(file, tmp_path / "before") == list(zip(*COLUMNS.values(), strict=True))
    assert known.of(path).without_user(file, "reader", "u1", target)
    target.replace(path)
    assert rows(file, tmp_path / "after") == KEPT
    assert not known.of(path).without_user(file, "reader", "u1", target)


def test_every_module_of_a_format_is_listed() -> None:
    modules = [import_module(f"{formats.__name__}.{module.name}") for module in iter_modules(formats.__path__)]
    assert [module for module in modules if hasattr(module, "SUFFIXES")] == list(known.FORMATS)


def test_no_two_formats_have_one_suffix() -> None:
    suffixes = [suffix for each in known.FORMATS for suffix in each.SUFFIXES]
    assert len(suffixes) == len(set(suffixes))
