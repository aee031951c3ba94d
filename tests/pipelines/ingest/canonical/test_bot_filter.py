"""Floods, robots and pseudonyms: what they change, what they leave as it is, and what is kept of them."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifacts import outputs, tables
from pipelines.ingest import stage as ingest
from pipelines.ingest.canonical import pseudonyms
from pipelines.split import stage as split
from tests.conftest import Workspace
from tests.pipelines.canonical import write_validate

COLUMNS = {"user_id": "user", "item_id": "item", "value": None, "timestamp": "time"}
START = 1_600_041_600  # a midnight
KEY = "a key of more than sixteen characters"


@pytest.fixture
def source(workspace: Workspace) -> Workspace:
    """A table source whose settings leave nothing out."""
    (workspace.root / "raw").mkdir()
    workspace.params("ingest", {"source": "table", "path": "raw", "max_rejected": 1.0, "table.columns": COLUMNS})
    return workspace


def write(events: list[tuple[str, str, int]]) -> None:
    lines = "".join(f"{user},{item},{START + second}\n" for user, item, second in events)
    Path("raw/interactions.csv").write_text(f"user,item,time\n{lines}")


def rows(name: str) -> list[dict[str, Any]]:
    return list(tables.read(Path(f"data/ingest/{name}.parquet")).to_pylist())


def users() -> dict[str, int]:
    found: dict[str, int] = {}
    for pair in rows("interactions"):
        found[pair["user_id"]] = found.get(pair["user_id"], 0) + pair["n_events"]
    return found


def left_out() -> list[tuple[int, str]]:
    return [(row["line"], row["reason"]) for row in rows("rejected")]


def test_events_beyond_the_first_of_a_day_are_left_out_and_kept(source: Workspace) -> None:
    source.params("ingest", {"abuse.max_per_day": 2})
    write([("u", "late", 30), ("u", "a", 10), ("u", "b", 20), ("u", "c", 86400), ("v", "a", 5)])
    ingest.main()
    assert {(row["user_id"], row["item_id"]) for row in rows("interactions")} == {
        ("u", "a"), ("u", "b"), ("u", "c"), ("v", "a"),
    }  # fmt: skip
    (row,) = rows("rejected")
    assert (row["line"], row["reason"]) == (2, "over_daily_cap")
    assert row["raw"].startswith("u,late,1.0,2020-09-14 00:00:30")
    counts = outputs.read_json(Path("data/ingest/summary.json"))["interactions"]
    assert (counts["read"], counts["accepted"], counts["malformed"]) == (5, 4, 0)


def test_who_is_too_fast_is_left_out_as_a_whole(source: Workspace) -> None:
    source.params("ingest", {"abuse.max_per_minute": 3})
    fast = [*(("fast", f"i{n}", n) for n in range(4)), ("fast", "x", 9000)]
    write([*fast, *(("slow", f"i{n}", n * 30) for n in range(9))])
    ingest.main()
    assert users() == {"slow": 9}
    assert left_out() == [(line, "bot_rate") for line in range(2, 7)]
    assert "4 events within a minute, expected at most 3" in rows("rejected")[0]["detail"]


def test_who_keeps_to_one_item_is_left_out_from_so_many_events_on(source: Workspace) -> None:
    source.params("ingest", {"abuse.min_entropy": 1.0, "abuse.entropy_from": 8})
    write(
        [("flood", "x", n * 100) for n in range(8)]
        + [("fan", "x", n * 100) for n in range(7)]
        + [("two", f"i{n % 2}", n * 100) for n in range(8)]  # 1 bit
    )
    ingest.main()
    assert users() == {"fan": 7, "two": 8}
    assert {reason for _, reason in left_out()} == {"bot_entropy"}


def test_lines_are_those_of_each_file_behind_blank_and_broken_ones(source: Workspace) -> None:
    source.params("ingest", {"abuse.max_per_day": 1, "table.interactions": ["*.csv"]})
    Path("raw/a.csv").write_text(f"user,item,time\nu,a,{START}\n\nbroken\nu,b,{START + 1}\n")
    Path("raw/b.csv").write_text(f"user,item,time\nu,c,{START + 2}\n")
    ingest.main()
    found = [(row["file"], row["line"], row["reason"]) for row in rows("rejected")]
    assert found == [
        ("a.csv", 4, "wrong_field_count"), ("a.csv", 5, "over_daily_cap"), ("b.csv", 2, "over_daily_cap"),
    ]  # fmt: skip


def popularity() -> dict[str, int]:
    items = tables.read(Path("data/split/items.parquet"))
    return {row["item_id"]: row["popularity"] for row in items.to_pylist()}


@pytest.mark.slow
def test_a_flood_of_one_account_makes_an_item_one_user_more_popular_and_no_more(source: Workspace) -> None:
    source.params("split", {"strategy": "hash"})
    honest = [(f"u{u}", f"i{(u * k) % 97}", u * 50 + k) for u in range(400) for k in range(1, 12)]
    write(honest)
    ingest.main()
    write_validate()
    split.main()
    before = popularity()
    target = min(before, key=lambda item: (before[item], item))
    write(honest + [("flood", target, n) for n in range(100_000)])
    ingest.main()
    write_validate()
    split.main()
    after = popularity()
    assert {item: after[item] - before[item] for item in before if after[item] != before[item]} in ({}, {target: 1})
    source.params("ingest", {"abuse.min_entropy": 0.5})
    ingest.main()
    write_validate()
    split.main()
    assert popularity() == before


def test_users_become_keyed_hashes_and_nothing_names_them(source: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_KEY", KEY)
    source.params("ingest", {"pseudonyms": "LONGTAIL_KEY"})
    Path("raw/interactions.csv").write_text(
        f"user,item,time\nalice-in-w,a,{START}\nalice-in-w,b,never\nalice-in-w,c\n,a,{START}\n"
    )
    ingest.main()
    (pair,) = rows("interactions")
    assert pair["user_id"] == hmac.new(KEY.encode(), b"alice-in-w", "sha256").hexdigest()[:32]
    assert [row["reason"] for row in rows("rejected")] == [
        "timestamp_not_readable", "wrong_field_count", "empty_user_id",
    ]  # fmt: skip
    written = [path for folder in ("data", ".longtail") for path in Path(folder).rglob("*") if path.is_file()]
    assert len(written) >= 8
    for path in written:
        assert b"alice" not in path.read_bytes()
        assert KEY.encode() not in path.read_bytes()
        if path.suffix == ".parquet":
            assert "alice" not in str(tables.read(path).to_pylist())


def user_space() -> Any:
    return outputs.read_json(Path("data/ingest/summary.json"))["user_space"]


def test_another_key_gives_others_and_the_summary_tells_the_keys_apart(
    source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write([("u", "a", 0)])
    ingest.main()
    assert user_space() is None
    source.params("ingest", {"pseudonyms": "LONGTAIL_KEY"})
    found: set[str] = set()
    spaces = []
    for key in (KEY, KEY + "!", KEY):
        monkeypatch.setenv("LONGTAIL_KEY", key)
        ingest.main()
        found |= users().keys()
        spaces.append(user_space())
    assert len(found) == 2
    assert spaces[0] == spaces[2] != spaces[1]
    assert {len(space) for space in spaces} == {8}
    assert not any(name.startswith(space) for name in found for space in spaces)


def test_a_key_that_is_absent_or_short_is_refused(source: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    source.params("ingest", {"pseudonyms": "LONGTAIL_KEY"})
    write([("u", "a", 0)])
    for key in ("", "short"):
        monkeypatch.setenv("LONGTAIL_KEY", key)
        with pytest.raises(ValueError, match=rf"LONGTAIL_KEY \(ingest.pseudonyms\) has {len(key)} characters"):
            ingest.main()


@settings(deadline=None)
@given(st.text(min_size=1), st.binary(min_size=16, max_size=200))
@pytest.mark.slow
def test_the_database_hashes_as_python_does(user_id: str, key: bytes) -> None:
    with duckdb.connect() as con:
        pseudonyms.use(con, key)
        (found,) = con.execute(f"select {pseudonyms.sql('u')} from (select $1::varchar as u)", [user_id]).fetchall()
    assert found[0] == pseudonyms.pseudonym(user_id, key)
