"""`source: table`: formats, mapping, guards on values and times, the catalogue."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.artifacts import tables
from pipelines.ingest import stage as ingest
from tests.conftest import Workspace

COLUMNS = {"user_id": "user", "item_id": "item", "value": "rating", "timestamp": "time"}
PLAIN = {"user_id": "user", "item_id": "item", "value": None, "timestamp": None}


class Source:
    """The folder `raw` of a table source."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder = workspace.root / "raw"
        self.folder.mkdir()
        workspace.params("ingest", {"source": "table", "path": "raw", "max_rejected": 1.0, "table.columns": COLUMNS})

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def ingest(self, **changes: Any) -> None:
        self.workspace.params("ingest", {f"table.{key}": value for key, value in changes.items()})
        ingest.main()


@pytest.fixture
def raw(workspace: Workspace) -> Source:
    return Source(workspace)


def rows(name: str) -> list[dict[str, Any]]:
    return list(tables.read(Path(f"data/ingest/{name}.parquet")).to_pylist())


def pairs() -> list[tuple[str, str]]:
    return [(row["user_id"], row["item_id"]) for row in rows("interactions")]


VALUES: dict[str, float | str] = {
    "4": 4.0, "+.5": 0.5, "1e3": 1000.0, " 2.5 ": 2.5, "3.": 3.0,
    "0x10": "value_not_a_number", "1_000": "value_not_a_number", "1,5": "value_not_a_number",
    "five": "value_not_a_number", "": "value_not_a_number", "true": "value_not_a_number",
    "inf": "value_not_finite", "-Infinity": "value_not_finite", "NaN": "value_not_finite",
    "1e999": "value_not_finite", "1e39": "value_not_finite",
    "0": "value_not_positive", "-1": "value_not_positive", "1e-60": "value_not_positive",
}  # fmt: skip
RANGE, UNREADABLE = "timestamp_out_of_range", "timestamp_not_readable"
TIMES = {
    "s": {
        "1600000000": "2020-09-13T12:26:40", "1600000000.25": "2020-09-13T12:26:40.250000",
        "1600000000000": RANGE, "0": RANGE, "-5": RANGE, "4102444800": RANGE, "999999999999999999": RANGE,
        "": UNREADABLE, "1e9": UNREADABLE, "2020-09-13": UNREADABLE, "9999999999999999999": UNREADABLE,
    },
    "ms": {"1600000000250": "2020-09-13T12:26:40.250000", "1600000000": RANGE},
    "us": {"1600000000123456": "2020-09-13T12:26:40.123456", "1600000000123": RANGE},
    "iso": {
        "2020-09-13": "2020-09-13T00:00:00", "2020-09-13T14:26:40+02:00": "2020-09-13T12:26:40",
        "2020-09-13 12:26:40.5Z": "2020-09-13T12:26:40.500000", "2100-01-01": RANGE,
        "2020-02-30": UNREADABLE, "13.09.2020": UNREADABLE, "1600000000": UNREADABLE,
    },
}  # fmt: skip


def test_a_value_is_a_positive_finite_number_or_rejected(raw: Source) -> None:
    lines = [f'{line},i,"{value}",1600000000' for line, value in enumerate(VALUES, start=2)]
    raw.write("interactions.csv", "\n".join(["user,item,rating,time", *lines]))
    raw.ingest()
    accepted = {int(row["user_id"]): row["value"] for row in rows("interactions")}
    rejected = {row["line"]: row["reason"] for row in rows("rejected")}
    assert accepted | rejected == dict(enumerate(VALUES.values(), start=2))


@pytest.mark.parametrize("unit", list(TIMES))
def test_a_timestamp_is_read_in_its_unit_or_rejected(raw: Source, unit: str) -> None:
    lines = [f"{line},i,1,{time}" for line, time in enumerate(TIMES[unit], start=2)]
    raw.write("interactions.csv", "\n".join(["user,item,rating,time", *lines]))
    raw.ingest(timestamp_unit=unit)
    accepted = {int(row["user_id"]): row["timestamp"].replace(tzinfo=None).isoformat() for row in rows("interactions")}
    rejected = {row["line"]: row["reason"] for row in rows("rejected")}
    assert accepted | rejected == dict(enumerate(TIMES[unit].values(), start=2))


def test_ids_are_strings_whatever_they_look_like(raw: Source) -> None:
    raw.write("interactions.csv", "user,item\n0007,NA\n7,null\n07,None\n")
    raw.ingest(columns=PLAIN)
    assert pairs() == [("0007", "NA"), ("07", "None"), ("7", "null")]


@pytest.mark.parametrize(
    ("user", "reason"),
    [("", "empty_user_id"), ("  ", "empty_user_id"), ('"a\nb"', "bad_user_id"), ("x" * 257, "bad_user_id")],
)
def test_ids_that_are_none_are_rejected(raw: Source, user: str, reason: str) -> None:
    raw.write("interactions.csv", f"user,item\n{user},i\ngood,i\n")
    raw.ingest(columns=PLAIN)
    assert pairs() == [("good", "i")]
    assert [(row["line"], row["reason"]) for row in rows("rejected")] == [(2, reason)]


def test_a_rejected_row_is_kept_as_it_was(raw: Source) -> None:
    raw.write("interactions.csv", 'user,note,item\nu,"a, ""b""",\nu,x,i\n')
    raw.ingest(columns=PLAIN)
    (row,) = rows("rejected")
    assert (row["file"], row["line"], row["raw"]) == ("interactions.csv", 2, 'u,"a, ""b""",')


def test_columns_may_come_in_any_order_and_differ_between_files(raw: Source) -> None:
    raw.write("a/part-1.tsv", "user\titem\n1\ti\n")
    raw.write("a/part-2.tsv", "item\textra\tuser\nj\tx\t2\n\t\t\n")
    raw.ingest(interactions=["a/part-*.tsv"], columns=PLAIN, delimiter="\t")
    assert pairs() == [("1", "i"), ("2", "j")]
    assert [(row["file"], row["line"]) for row in rows("rejected")] == [("a/part-2.tsv", 3)]


def test_a_file_that_two_patterns_match_is_read_once(raw: Source) -> None:
    raw.write("interactions.csv", "user,item\nu,i\n")
    raw.ingest(interactions=["*.csv", "inter*"], columns=PLAIN)
    assert [row["n_events"] for row in rows("interactions")] == [1]


def test_the_path_may_be_the_file_itself(raw: Source) -> None:
    path = raw.write("some[1].csv", "user,item\nu,i\n")
    raw.workspace.params("ingest", {"path": path.as_posix()})
    raw.ingest(columns=PLAIN)
    assert pairs() == [("u", "i")]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_compressed_text_is_read(raw: Source, suffix: str) -> None:
    text = b"user,item\nu,i\n\nshort\n"
    data = gzip.compress(text) if suffix == "gz" else pa.compress(text, "zstd", asbytes=True)
    (raw.folder / f"events.csv.{suffix}").write_bytes(data)
    raw.ingest(interactions=[f"events.csv.{suffix}"], columns=PLAIN)
    assert pairs() == [("u", "i")]
    assert [(row["file"], row["line"]) for row in rows("rejected")] == [(f"events.csv.{suffix}", 4)]


def test_a_compressed_file_that_is_cut_short_is_refused(raw: Source) -> None:
    (raw.folder / "events.csv.gz").write_bytes(gzip.compress(b"user,item\nu,i\n" * 99)[:-20])
    with pytest.raises(ValueError, match="cannot be decompressed"):
        raw.ingest(interactions=["events.csv.gz"], columns=PLAIN)


def parquet(raw: Source, **columns: Any) -> None:
    pq.write_table(pa.table(columns), raw.folder / "events.parquet")


def test_parquet_keeps_its_types(raw: Source) -> None:
    time = [datetime(2020, 9, 13, 12, 26, 40), None, datetime(2020, 9, 14), datetime(2020, 9, 14)]
    parquet(raw, user=[1, 2, 3, None], item=["i"] * 4, rating=[0.1, 1.0, float("nan"), 2.0], time=time)
    raw.ingest(interactions=["events.parquet"])
    (pair,) = rows("interactions")
    assert pair["user_id"] == "1"
    assert pair["value"] == pytest.approx(0.1)
    assert pair["timestamp"] == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    assert [(row["line"], row["reason"]) for row in rows("rejected")] == [
        (2, "timestamp_not_readable"), (3, "value_not_finite"), (4, "empty_user_id"),
    ]  # fmt: skip


def test_a_date_column_of_parquet_is_a_time(raw: Source) -> None:
    parquet(raw, user=["u"], item=["i"], rating=[1], time=[date(2020, 9, 13)])
    raw.ingest(interactions=["events.parquet"])
    assert rows("interactions")[0]["timestamp"] == datetime(2020, 9, 13, tzinfo=UTC)


def test_ids_with_fractions_are_refused(raw: Source) -> None:
    parquet(raw, user=[1.0, 2.0], item=["i", "j"])
    with pytest.raises(ValueError, match="column 'user' is DOUBLE, expected ids as text or integers"):
        raw.ingest(interactions=["events.parquet"], columns=PLAIN)


def test_damaged_parquet_is_refused(raw: Source) -> None:
    (raw.folder / "events.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ValueError, match="is not a valid parquet file"):
        raw.ingest(interactions=["events.parquet"], columns=PLAIN)


def test_damaged_pages_of_parquet_are_refused(raw: Source) -> None:
    parquet(raw, user=[f"user {i}" for i in range(5000)], item=["i"] * 5000)
    path = raw.folder / "events.parquet"
    data = bytearray(path.read_bytes())
    data[50:2000] = b"\xff" * 1950
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is not a valid parquet file"):
        raw.ingest(interactions=["events.parquet"], columns=PLAIN)


def test_an_unknown_format_is_refused(raw: Source) -> None:
    raw.write("events.json", "{}")
    with pytest.raises(ValueError, match=r"unknown format, expected one of \.csv"):
        raw.ingest(interactions=["events.json"])


@pytest.mark.parametrize("pattern", ["/etc/hosts", "../raw/interactions.csv"])
def test_files_outside_the_path_are_refused(raw: Source, pattern: str) -> None:
    with pytest.raises(ValueError, match=r"expected a path below ingest\.path"):
        raw.ingest(interactions=[pattern])


def catalogue(raw: Source, content: str, /, **changes: Any) -> list[dict[str, Any]]:
    raw.write("interactions.csv", "user,item\nu,1\n")
    raw.write("items.csv", content)
    raw.ingest(
        **{"columns": PLAIN, "items": ["items.csv"], "item_columns": {"item_id": "id", "title": "name"}} | changes
    )
    return rows("items")


def test_the_text_is_the_template_filled_in(raw: Source) -> None:
    items = catalogue(
        raw,
        'id,name,genre,year\n2,B,,1999\n1,"A  title","x\ny",2001\n',
        text="{title} ({year}): {genre} {{id {item_id}}}",
    )
    assert [item["text"] for item in items] == ["A title (2001): x y {id 1}", "B (1999): {id 2}"]
    assert [item["title"] for item in items] == ["A title", "B"]
    assert [item["year"] for item in items] == ["2001", "1999"]


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{name} {plot}", r"no column 'plot', required by ingest.table.text; it has 'id', 'name', 'genre'"),
        ("{name", "ingest.table.text is '{name'"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(raw: Source, template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        catalogue(raw, "id,name,genre\n1,A,x\n", text=template)


def test_the_first_of_two_items_with_one_id_is_kept(raw: Source) -> None:
    items = catalogue(raw, "id,name\n1,first\n2,x\n1,second\n,nobody\n", text="{name}")
    assert [(item["item_id"], item["title"]) for item in items] == [("1", "first"), ("2", "x")]
    assert [(r["line"], r["reason"]) for r in rows("rejected")] == [(4, "duplicate_item"), (5, "empty_item_id")]
    assert "line 2 of items.csv" in rows("rejected")[0]["detail"]


def test_an_item_without_title_is_called_by_its_id(raw: Source) -> None:
    assert catalogue(raw, "id,name\n1,\n", text="{name}") == [{"item_id": "1", "title": "1", "text": ""}]


def test_further_columns_never_hide_ours(raw: Source) -> None:
    (item,) = catalogue(raw, "id,name,text,popularity,line,reason\n1,A,their text,99,x,y\n", text="{text}")
    assert item == {
        "item_id": "1", "title": "A", "text": "their text",
        "source_text": "their text", "source_popularity": "99", "line": "x", "reason": "y",
    }  # fmt: skip


def test_item_files_may_have_different_columns(raw: Source) -> None:
    raw.write("items-2.csv", "name,id,year\nB,2,1999\n")
    items = catalogue(raw, "id,name,genre\n1,A,x\n", text="{name}", items=["items.csv", "items-2.csv"])
    assert [(item["genre"], item["year"]) for item in items] == [("x", None), (None, "1999")]


def test_without_item_files_the_catalogue_is_what_has_events(raw: Source) -> None:
    raw.write("interactions.csv", "user,item\nu,b\nu,a\nv,a\n")
    raw.ingest(columns=PLAIN)
    assert rows("items") == [{"item_id": i, "title": i, "text": ""} for i in ("a", "b")]


@pytest.mark.slow
def test_the_anime_ratings_are_accounted_for(workspace: Workspace, shared_data: Path) -> None:
    changes = {
        "source": "table", "path": str(shared_data / "anime"), "max_rejected": 0.0,
        "table.interactions": ["anime_ratings.dat"], "table.delimiter": "\t", "table.quote": None,
        "table.columns": {"user_id": "User_ID", "item_id": "Anime_ID", "value": "Feedback", "timestamp": None},
        "table.min_value": 7.0, "table.items": ["anime_info.dat"],
        "table.item_columns": {"item_id": "anime_ids", "title": "name"}, "table.text": "{name}. {genre}. {type}",
    }  # fmt: skip
    workspace.params("ingest", changes)
    ingest.main()
    assert (len(rows("interactions")), len(rows("items")), len(rows("rejected"))) == (345_717, 7_390, 74_226)
