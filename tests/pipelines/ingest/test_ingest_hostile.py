"""Files as they really arrive: each kind of damage has one exact outcome, and no reader's guess changes an id."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.artifacts import outputs, tables
from pipelines.ingest import stage as ingest
from pipelines.runtime.console import run
from tests.conftest import Workspace

COLUMNS = {"user_id": "user", "item_id": "item", "value": "rating", "timestamp": "time"}
HEADER = b"user,item,rating,time\n"
GOOD = b"good,i,4,1600000000\n"
TABLE = HEADER + GOOD


def row(user: str = "u", item: str = "i", rating: str = "4", time: str = "1600000000") -> bytes:
    return f"{user},{item},{rating},{time}\n".encode()


def read(
    workspace: Workspace, data: bytes, name: str = "events.csv", interactions: Sequence[str] = (), **changes: Any
) -> None:
    """Ingest a folder that holds `data` as its one file."""
    folder = workspace.root / "raw"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    settings = {"source": "table", "path": "raw", "max_rejected": 1.0, "table.columns": COLUMNS}
    workspace.params("ingest", settings | {"table.interactions": list(interactions) or [name]} | changes)
    ingest.main()


def accepted() -> dict[str, int]:
    """Number of events by user."""
    found: dict[str, int] = {}
    for pair in tables.read(Path("data/ingest/interactions.parquet")).to_pylist():
        found[pair["user_id"]] = found.get(pair["user_id"], 0) + pair["n_events"]
    return found


def rejected() -> list[tuple[int, str, str]]:
    rows = tables.read(Path("data/ingest/rejected.parquet")).to_pylist()
    return [(row["line"], row["reason"], row["raw"]) for row in rows]


def account() -> dict[str, Any]:
    counts: dict[str, Any] = outputs.read_json(Path("data/ingest/summary.json"))["interactions"]
    return counts


# file -> events by user, rejected rows as (line, reason, what the file says)
READ: dict[str, tuple[bytes, dict[str, int], list[tuple[int, str, str]]]] = {
    "one row too short": (TABLE + b"u,i,4\n" + GOOD, {"good": 2}, [(3, "wrong_field_count", "u,i,4")]),
    "one row too long": (
        TABLE + b"u,i,4,1600000000,x\n",
        {"good": 1},
        [(3, "wrong_field_count", "u,i,4,1600000000,x")],
    ),
    "a decimal comma without quotes": (
        TABLE + b"u,i,4,5,1600000000\n",
        {"good": 1},
        [(3, "wrong_field_count", "u,i,4,5,1600000000")],
    ),
    "a fifth column without name, in all rows": (
        b"user,item,rating,time,\nu,i,4,1600000000,\nv,i,4,1600000000,note\n",
        {"u": 1, "v": 1},
        [],
    ),
    "a quote that nobody closes": (
        TABLE + b'u,"i,4,1600000000\n' + GOOD * 3,
        {"good": 4},
        [(3, "broken_quote", 'u,"i,4,1600000000')],
    ),
    "a line end within quotes": (
        TABLE + b'"a\nb",i,4,1600000000\n' + row("v"),
        {"good": 1, "v": 1},
        [(3, "bad_user_id", '"a\nb",i,4,1600000000')],
    ),
    "NUL in an id": (TABLE + row("u\0x"), {"good": 1}, [(3, "bad_user_id", "u\0x,i,4,1600000000")]),
    "NUL in a rating": (TABLE + row(rating="4\0"), {"good": 1}, [(3, "value_not_a_number", "u,i,4\0,1600000000")]),
    "NULs behind the last row": (TABLE + b"\0" * 100, {"good": 1}, [(3, "wrong_field_count", "\0" * 100)]),
    "latin-1": (
        TABLE + "André,i,4,1600000000\n".encode("latin-1") + GOOD,
        {"good": 2},
        [(3, "invalid_utf8", "Andr\\xe9,i,4,1600000000")],
    ),
    "latin-1 between blank lines and CRLF": (
        TABLE + b"\r\n" + "Zoë,i,4,1600000000\r\n".encode("latin-1") + GOOD,
        {"good": 2},
        [(4, "invalid_utf8", "Zo\\xeb,i,4,1600000000")],
    ),
    "a byte order mark": (b"\xef\xbb\xbf" + TABLE, {"good": 1}, []),
    "CR alone": ((TABLE + row()).replace(b"\n", b"\r"), {"good": 1, "u": 1}, []),
    "a header in another order": (b"time,rating,item,user\n1600000000,4,i,u\n", {"u": 1}, []),
    "a field of 10 MB": (
        TABLE + row("x" * 10_000_000) + row("v"),
        {"good": 1, "v": 1},
        [(3, "bad_user_id", "x" * 10_000_000 + ",i,4,1600000000")],
    ),
    "a number of 10 MB": (
        TABLE + row(rating="4" * 10_000_000),
        {"good": 1},
        [(3, "value_not_finite", "u,i," + "4" * 10_000_000 + ",1600000000")],
    ),
    "the last row cut short in a field": (TABLE + b"u,i,4,16000", {"good": 1}, [
        (3, "timestamp_out_of_range", "u,i,4,16000")]),
    "the last row cut short before a field": (TABLE + b"u,i,4", {"good": 1}, [(3, "wrong_field_count", "u,i,4")]),
    "the last row cut short within quotes": (TABLE + b'u,"i', {"good": 1}, [(3, "broken_quote", 'u,"i')]),
    "blank lines at the end": (TABLE + b"\n\n", {"good": 1}, []),
    "timestamps of mixed units": (
        TABLE + row(time="1600000000000") + row(time="2020-09-13") + row(time="600000000") + row(time="9999999999"),
        {"good": 1},
        [
            (3, "timestamp_out_of_range", "u,i,4,1600000000000"),
            (4, "timestamp_not_readable", "u,i,4,2020-09-13"),
            (5, "timestamp_out_of_range", "u,i,4,600000000"),  # 1989
            (6, "timestamp_out_of_range", "u,i,4,9999999999"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", READ)
def test_each_row_of_a_damaged_file_is_accepted_or_kept_as_it_was(workspace: Workspace, damage: str) -> None:
    data, users, rows = READ[damage]
    read(workspace, data)
    assert accepted() == users
    assert rejected() == rows
    assert account()["read"] == sum(users.values()) + len(rows)


IDS = [
    *("NA", "null", "None", "nan", "NaN", "N/A", "\\N", "0007", "7", " 7 ", "7.0", "1e5", "0x10", "True", "-", "1_000"),
    *("=1+1", "+1", "@x", "-1", "2020-01-01", "12:30", "😀", "שלום", "a\u202eb", "\u200bx", "é", "e\u0301", 'a""b'),
]


def test_no_id_is_changed_by_a_guess(workspace: Workspace) -> None:
    read(workspace, TABLE + b"".join(row(f'"{name}"', f'"{name}"') for name in IDS))
    pairs = {
        (pair["user_id"], pair["item_id"]) for pair in tables.read(Path("data/ingest/interactions.parquet")).to_pylist()
    }
    assert pairs == {(name.replace('""', '"'),) * 2 for name in IDS} | {("good", "i")}


@pytest.mark.parametrize("character", ["\t", "\x01", "\x7f", "\x85"])
def test_a_control_character_in_an_id_is_rejected(workspace: Workspace, character: str) -> None:
    read(workspace, TABLE + row(f"a{character}b"))
    assert rejected() == [(3, "bad_user_id", f"a{character}b,i,4,1600000000")]


def test_a_long_field_is_kept_once_and_its_detail_is_short(workspace: Workspace) -> None:
    read(workspace, TABLE + row(rating="x" * 100_000))
    (found,) = tables.read(Path("data/ingest/rejected.parquet")).to_pylist()
    assert len(found["raw"]) > 100_000
    assert len(found["detail"]) < 200


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "empty": ("events.csv", b"", r"raw/events\.csv is empty"),
    "empty gzip": ("events.csv.gz", gzip.compress(b""), r"raw/events\.csv\.gz is empty"),
    "header alone": ("events.csv", HEADER, "a header but no rows"),
    "header without line end": ("events.csv", HEADER[:-1], "a header but no rows"),
    "a column twice": ("events.csv", b"user,item,user,rating,time\n", "two columns 'user'"),
    "a missing column": ("events.csv", b"user,item,rating\nu,i,4\n", "no column 'time'.*it has 'user', 'item', 'rat"),
    "one extra field in all rows": (
        "events.csv",
        HEADER + b"u,i,4,1600000000,x\n" * 3,
        "none of the 3 rows .* wrong_field_count 3",
    ),
    "UTF-16": ("events.csv", TABLE.decode().encode("utf-16"), "is UTF-16, .*iconv -f UTF-16 "),
    "UTF-16 without mark": ("events.csv", TABLE.decode().encode("utf-16-le"), "is UTF-16LE, .*iconv -f UTF-16LE "),
    "UTF-16, the other way": ("events.csv", TABLE.decode().encode("utf-16-be"), "is UTF-16BE, "),
    "UTF-32": ("events.csv", TABLE.decode().encode("utf-32"), "is UTF-32, .*iconv -f UTF-32 "),
    "gzip cut short": ("events.csv.gz", gzip.compress(HEADER + GOOD * 9999)[:-20], "cannot be decompressed"),
    "gzip with a flipped checksum": (
        "events.csv.gz",
        gzip.compress(TABLE)[:-8] + b"\0\0\0\0" + gzip.compress(TABLE)[-4:],
        "cannot be decompressed",
    ),
    "gzip with something behind it": ("events.csv.gz", gzip.compress(TABLE) + b"more", "cannot be decompressed"),
    "no gzip at all": ("events.csv.gz", TABLE, "cannot be decompressed"),
    "zstd cut short": ("events.csv.zst", pa.compress(HEADER + GOOD * 9999, "zstd", asbytes=True)[:-5], "truncated:"),
    "zstd with something behind it": (
        "events.csv.zst",
        pa.compress(TABLE, "zstd", asbytes=True) + b"more",
        "cannot be decompressed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", REFUSED)
def test_a_file_that_cannot_be_trusted_as_a_whole_stops_the_run(workspace: Workspace, damage: str) -> None:
    name, data, problem = REFUSED[damage]
    with pytest.raises(ValueError, match=problem):
        read(workspace, data, name)
    assert not Path("data/ingest").exists()


def parquet(workspace: Workspace, *, checksums: bool = False, **columns: Any) -> Path:
    events = {"user": ["u"], "item": ["i"], "rating": [4.0], "time": [1600000000]} | columns
    path = workspace.root / "events.parquet"
    pq.write_table(pa.table(events), path, compression="none", write_page_checksum=checksums)
    return path


TYPES: dict[str, tuple[dict[str, Any], str | None]] = {
    "integers, dictionaries, decimals": (
        {"user": [2**63 - 1], "item": pa.array(["i"]).dictionary_encode(),
         "rating": pa.array([4]).cast(pa.decimal128(30, 2))},
        None,
    ),
    "numbers as text": ({"rating": ["4"], "time": ["1600000000"]}, None),
    "a nested column that nobody needs": ({"more": [[{"x": 1}]]}, None),
    "a zone of its own": ({"time": pa.array([1600000000], pa.timestamp("s", tz="America/New_York"))}, None),
    "binary ids": ({"user": pa.array([b"u"])}, "column 'user' is BLOB, expected ids as text or integers"),
    "floats as ids": ({"user": [7.0]}, "column 'user' is DOUBLE"),
    "booleans as ids": ({"user": [True]}, "column 'user' is BOOLEAN"),
    "a nested id": ({"user": [{"id": "u"}]}, "column 'user' is STRUCT"),
    "a list of ids": ({"item": [["i", "j"]]}, r"column 'item' is VARCHAR\[\]"),
    "ids of no type": ({"user": pa.nulls(1)}, "column 'user' is .*NULL"),
    "nothing but nulls": ({"user": pa.nulls(1, pa.string())}, "none of the 1 rows .* empty_user_id 1"),
    "a nested rating": ({"rating": [{"x": 1}]}, "none of the 1 rows .* value_not_a_number 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_parquet_of_other_types_is_read_exactly_or_refused(workspace: Workspace, kind: str) -> None:
    columns, problem = TYPES[kind]
    data = parquet(workspace, **columns).read_bytes()
    if problem:
        with pytest.raises(ValueError, match=problem):
            read(workspace, data, "events.parquet")
    else:
        read(workspace, data, "events.parquet")
        (pair,) = tables.read(Path("data/ingest/interactions.parquet")).to_pylist()
        assert (pair["value"], int(pair["timestamp"].timestamp())) == (4.0, 1600000000)


def test_a_flipped_byte_in_parquet_with_checksums_is_refused(workspace: Workspace) -> None:
    data = bytearray(parquet(workspace, checksums=True, user=["some user with a name"]).read_bytes())
    data[data.index(b"a name")] ^= 1
    with pytest.raises(ValueError, match=r"events\.parquet is not a valid parquet file \(.*checksum"):
        read(workspace, bytes(data), "events.parquet")


def test_a_last_row_without_line_end_is_named_as_suspicious(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    read(workspace, TABLE + b"u,i,4,1600000000")
    assert account()["unfinished_files"] == ["events.csv"]
    assert "events.csv does not end with a line end: its last row may be truncated" in capsys.readouterr().out
    read(workspace, TABLE)
    assert account()["unfinished_files"] == []


def test_a_declared_number_of_rows_catches_what_is_cut_off(workspace: Workspace) -> None:
    read(workspace, TABLE + GOOD, expected_rows=2)
    with pytest.raises(ValueError, match=r"1 rows of interactions were read, ingest\.expected_rows is 2"):
        read(workspace, TABLE, expected_rows=2)


def test_events_from_a_day_on_are_left_out_and_are_not_malformed(workspace: Workspace) -> None:
    read(workspace, TABLE + row("late", time="1735689600") + row("u", time="1735689599"), until="2025-01-01")
    assert accepted() == {"good": 1, "u": 1}
    assert [reason for _, reason, _ in rejected()] == ["after_until"]
    assert account()["malformed"] == 0


@pytest.mark.slow
def test_a_link_within_the_folder_is_read_and_a_broken_one_is_named(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.csv"
    outside.write_bytes(TABLE)
    (workspace.root / "raw").mkdir()
    (workspace.root / "raw" / "linked.csv").symlink_to(outside)
    read(workspace, HEADER + row(), interactions=["*.csv"])
    assert accepted() == {"good": 1, "u": 1}
    outside.unlink()
    with pytest.raises(FileNotFoundError, match=r"linked\.csv is a broken link"):
        ingest.main()


def test_a_copy_of_a_file_is_named(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace.root / "raw").mkdir()
    (workspace.root / "raw" / "copy.csv").write_bytes(TABLE)
    read(workspace, TABLE, interactions=["*.csv"])
    assert accepted() == {"good": 2}
    assert "events.csv has the same content as raw/copy.csv: its rows count twice" in capsys.readouterr().out


def test_a_zip_that_points_outside_is_refused(workspace: Workspace) -> None:
    (workspace.root / "raw").mkdir()
    with zipfile.ZipFile(workspace.root / "raw" / "data.zip", "w") as archive:
        archive.writestr("../outside.csv", TABLE)
    workspace.params("ingest", {"source": "table", "path": "raw/data.zip"})
    with pytest.raises(ValueError, match=r"'\.\./outside\.csv', which points outside the folder"):
        ingest.main()
    assert not list(workspace.root.rglob("outside.csv"))


def test_too_little_memory_is_one_line_that_names_the_setting(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(lambda: read(workspace, HEADER + GOOD * 1000, memory_limit="1MB"), "ingest")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ingest: error: ingest.memory_limit is 1MB, which is not enough")
    assert not list(Path("data").iterdir())
