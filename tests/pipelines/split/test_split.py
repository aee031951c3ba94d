"""The split on tables worked by hand: nothing leaks, nothing is lost, and what grows keeps its place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import outputs, tables
from pipelines.split import parts
from pipelines.split import stage as split
from tests.conftest import Workspace
from tests.pipelines.canonical import Row, catalogue, day, interactions, item_ids, rows, write_ingest, write_validate

FITTED_ON_TRAIN = ("train.parquet", "users.parquet", "items.parquet")
N_ITEMS = 40
CUT = day(19.5)  # after every row of `rows`


def run_split(of: Iterable[Row], **items: Any) -> dict[str, Any]:
    write_ingest(interactions(of), catalogue(item_ids(N_ITEMS), **items))
    write_validate()
    split.main()
    summary: dict[str, Any] = outputs.read_json(Path("data/split/holdout.json"))
    return summary


def contents(*names: str) -> dict[str, bytes]:
    return {name: Path("data/split", name).read_bytes() for name in names}


def column(table: str, name: str) -> list[Any]:
    return tables.read(Path(f"data/split/{table}.parquet"))[name].to_pylist()


def pairs(part: str) -> set[tuple[str, str]]:
    """(user_id, item_id) of a part, read back through users and items."""
    users = column("users", "user_id")
    items = column("items", "item_id")
    found = [(users[u], items[i]) for u, i in zip(column(part, "user_idx"), column(part, "item_idx"), strict=True)]
    assert found == sorted(found)
    assert len(found) == len(set(found))
    return set(found)


def bucket(user_id: str, item_id: str, *, seed: int) -> str:
    """Slow twin of the hash split."""
    place = int(hashlib.md5(f"{seed}:{user_id}:{item_id}".encode()).hexdigest()[:8], 16) / 2**32
    return "test" if place < 0.1 else "valid" if place < 0.2 else "train"


@pytest.fixture
def by_time(workspace: Workspace) -> Workspace:
    workspace.params("split", {"strategy": "time"})
    return workspace


@pytest.fixture
def by_hash(workspace: Workspace) -> Workspace:
    workspace.params("split", {"strategy": "hash", "seed": 7})
    return workspace


def test_each_part_ends_where_the_next_begins(by_time: Workspace) -> None:
    events = [("u", f"i{n:03}", 1.0, day(n)) for n in range(20)]

    summary = run_split(events)

    assert summary["cutoffs"] == [day(16).isoformat(), day(18).isoformat()]
    times = {part: column(part, "timestamp") for part in parts.PARTS}
    assert (max(times["train"]), times["valid"], times["test"]) == (day(15), [day(16), day(17)], [day(18), day(19)])


def test_cutoffs_within_one_day_fall_on_a_finer_unit(by_time: Workspace) -> None:
    summary = run_split([("u", f"i{n:03}", 1.0, day(n / 86400)) for n in range(20)])

    assert summary["cutoffs"] == [day(16 / 86400).isoformat(), day(18 / 86400).isoformat()]


@pytest.mark.parametrize("planted", [("u003", "i039"), ("newcomer", "i000")])
def test_a_pair_after_the_cutoff_leaves_everything_fitted_on_train_as_it_was(
    by_time: Workspace, planted: tuple[str, str]
) -> None:
    of = [row for row in rows(60, N_ITEMS) if row[:2] != planted]
    cutoffs = run_split(of)["cutoffs"]
    before = contents(*FITTED_ON_TRAIN)

    summary = run_split([*of, (*planted, 1.0, CUT)])

    assert summary["cutoffs"] == cutoffs
    assert contents(*FITTED_ON_TRAIN) == before
    assert summary["left_out"]["test_of_new_users"] == (planted[0] == "newcomer")
    assert (planted in pairs("test")) == (planted[0] != "newcomer")


def test_a_pair_before_the_cutoff_does_change_train(by_time: Workspace) -> None:
    of = [row for row in rows(60, N_ITEMS) if row[:2] != ("u003", "i039")]
    run_split(of)
    before = contents("train.parquet")

    run_split([*of, ("u003", "i039", 1.0, day(0))])

    assert contents("train.parquet") != before


@pytest.mark.parametrize("strategy", ["time", "hash"])
def test_every_interaction_is_in_one_part_or_counted_as_left_out(workspace: Workspace, strategy: str) -> None:
    workspace.params("split", {"strategy": strategy, "cold_items": 0.2})
    of = [*rows(60, N_ITEMS), ("late", "i001", 1.0, CUT), ("late", "i002", 1.0, CUT)]

    summary = run_split(of)

    found = [pairs(part) for part in parts.PARTS]
    kept = set.union(*found)
    assert len(kept) == sum(map(len, found))
    assert kept <= {row[:2] for row in of}
    assert len(kept) + sum(summary["left_out"].values()) == len(of)
    assert [summary[f"n_{part}"] for part in parts.PARTS] == [len(part) for part in found]


def test_a_hash_split_agrees_with_its_slow_twin_and_pairs_keep_their_bucket(by_hash: Workspace) -> None:
    small, large = rows(40, N_ITEMS), rows(80, N_ITEMS, per_user=9)
    assert {row[:2] for row in small} <= {row[:2] for row in large}
    run_split(small)
    before = {part: pairs(part) for part in parts.PARTS}

    run_split(large)

    for part in parts.PARTS:
        assert before[part] <= pairs(part)
        assert pairs(part) == {row[:2] for row in large if bucket(*row[:2], seed=7) == part}


def test_withheld_items_are_absent_from_train_but_not_from_test(by_hash: Workspace) -> None:
    by_hash.params("split", {"cold_items": 0.3, "test": 0.3})

    summary = run_split(rows(60, N_ITEMS))

    items = tables.read(Path("data/split/items.parquet")).to_pylist()
    withheld = {
        item["item_id"]
        for item in items
        if int(hashlib.md5(f"7:cold:{item['item_id']}".encode()).hexdigest()[:8], 16) / 2**32 < 0.3
    }
    assert withheld
    assert not withheld & {item_id for _, item_id in pairs("train")}
    assert withheld & {item_id for _, item_id in pairs("test")}
    assert summary["left_out"]["train_of_withheld_items"] > 0
    assert all(item["is_cold"] and item["is_tail"] for item in items if item["item_id"] in withheld)


def test_popularity_counts_train_users_and_the_smallest_head_holds_the_share(by_time: Workspace) -> None:
    # by item: i000 has 5 users in train, i001 has 3, i002 has 2; i003 only in valid and test
    train = [(f"u{u}", item, 1.0, day(u)) for item, n in (("i000", 5), ("i001", 3), ("i002", 2)) for u in range(n)]
    later = [("u0", "i003", 1.0, day(20)), ("u1", "i003", 1.0, day(21))]

    summary = run_split([*train, *later], year=list(range(N_ITEMS)))

    items = tables.read(Path("data/split/items.parquet"))
    assert items.schema.names == [
        "item_idx",
        *tables.ITEMS.names,
        "popularity",
        "is_head",
        "is_tail",
        "is_cold",
        "year",
    ]
    assert items["item_idx"].to_pylist() == items["year"].to_pylist() == list(range(N_ITEMS))
    assert items["popularity"].to_pylist() == [5, 3, 2] + [0] * 37
    assert items["is_head"].to_pylist() == [True, True] + [False] * 38  # 8 of 10 are 80 %
    assert items["is_tail"].to_pylist() == [False, False] + [True] * 38
    assert items["is_cold"].to_pylist() == [False] * 3 + [True] * 37
    assert (summary["n_tail"], summary["n_cold"], summary["n_head"]) == (38, 37, 2)


def test_auto_splits_by_hash_where_timestamps_are_missing(workspace: Workspace) -> None:
    of = rows(60, N_ITEMS)

    summary = run_split([*of[:-1], (*of[-1][:3], None)])

    assert (summary["strategy"], summary["cutoffs"]) == ("hash", None)
    assert set.union(*(pairs(part) for part in parts.PARTS)) == {row[:2] for row in of}


def test_auto_splits_by_time_where_users_come_back_and_by_hash_where_they_do_not(workspace: Workspace) -> None:
    returning = rows(60, N_ITEMS)
    once = [(f"u{u:03}", f"i{i:03}", 1.0, day(u)) for u in range(60) for i in range(u % 30, u % 30 + 5)]

    assert run_split(returning)["strategy"] == "time"
    assert run_split(once)["strategy"] == "hash"


def test_time_is_refused_where_a_timestamp_is_missing(by_time: Workspace) -> None:
    of = rows(60, N_ITEMS)

    with pytest.raises(ValueError, match=r"time, but 1 of \d+ interactions have no timestamp; set it to hash or auto"):
        run_split([*of[:-1], (*of[-1][:3], None)])

    assert not Path("data/split").exists()


@pytest.mark.parametrize("n_times", [1, 2])
def test_time_is_refused_where_there_are_too_few_timestamps(by_time: Workspace, n_times: int) -> None:
    with pytest.raises(ValueError, match=f"3 distinct timestamps, found {n_times}; set split.strategy to hash"):
        run_split([(u, i, 1.0, day(k % n_times)) for k, (u, i, _, _) in enumerate(rows(60, N_ITEMS))])


def test_a_part_without_interactions_is_refused(by_time: Workspace) -> None:
    with pytest.raises(ValueError, match=r"split\.test is empty.*'test_of_new_users': 2"):
        run_split(
            [("u", f"i{n:03}", 1.0, day(n)) for n in range(18)] + [("v", "i000", 1.0, day(n)) for n in (18, 19)][:2]
        )


def test_a_head_that_leaves_no_tail_is_refused(by_hash: Workspace) -> None:
    by_hash.params("split", {"head": 0.99})  # of two items, both are needed to hold it

    write_ingest(
        interactions([(f"u{u:03}", f"i{i:03}", 1.0, day(u)) for u in range(40) for i in range(2)]),
        catalogue(item_ids(2)),
    )
    write_validate()

    with pytest.raises(ValueError, match=r"split\.head is 0\.99, and only all 2 items"):
        split.main()

    assert not Path("data/split").exists()


def test_equal_input_gives_equal_files(by_time: Workspace) -> None:
    run_split(rows(60, N_ITEMS))
    first = {path.name: path.read_bytes() for path in Path("data/split").iterdir()}

    run_split(rows(60, N_ITEMS))

    assert {path.name: path.read_bytes() for path in Path("data/split").iterdir()} == first


def test_digests_follow_the_test_pairs_and_the_tail(by_hash: Workspace) -> None:
    first = run_split(rows(60, N_ITEMS))
    by_hash.params("split", {"head": 0.5})
    other_head = run_split(rows(60, N_ITEMS))
    by_hash.params("split", {"seed": 8})
    other_seed = run_split(rows(60, N_ITEMS))

    assert first["holdout_sha256"] == other_head["holdout_sha256"] != other_seed["holdout_sha256"]
    assert first["tail_sha256"] != other_head["tail_sha256"]


def test_a_flipped_byte_is_refused(by_time: Workspace) -> None:
    run_split(rows(60, N_ITEMS))
    path = Path("data/ingest/interactions.parquet")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(ValueError, match=r"interactions\.parquet is corrupted: .*dvc repro .*ingest"):
        split.main()


def test_tables_that_were_not_the_ones_validated_are_refused(by_time: Workspace) -> None:
    run_split(rows(60, N_ITEMS))
    write_ingest(interactions(rows(61, N_ITEMS)), catalogue(item_ids(N_ITEMS)))

    with pytest.raises(ValueError, match=r"interactions\.parquet differs from the file that data/validate judged"):
        split.main()


def test_a_column_that_split_writes_itself_is_refused(by_time: Workspace) -> None:
    with pytest.raises(ValueError, match="has a column 'popularity', a name that split uses"):
        run_split(rows(60, N_ITEMS), popularity=[1] * N_ITEMS)
