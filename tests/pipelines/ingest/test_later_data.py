"""Test sets of later data leave out all that a model was trained or chosen on: ingest and split for real."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from models.evaluation import leakage
from models.evaluation.leakage import Split
from pipelines.artifacts import outputs, tables
from pipelines.ingest import stage as ingest
from pipelines.ingest.canonical.pseudonyms import pseudonym
from pipelines.split import stage as split
from tests.conftest import Workspace
from tests.pipelines.canonical import day, write_validate

Event = tuple[str, str, int]
Parts = dict[str, set[tuple[str, str]]]
N_USERS, N_ITEMS = 40, 60
KEY = "a key of more than sixteen characters"


def events(*, steps: int, since: int, days: int) -> list[Event]:
    """Of each user `steps` events in the days from `since` on."""
    return [
        (f"u{u:02}", f"i{(u * 7 + since + k * 11) % N_ITEMS:02}", int(day(since + (u * 3 + k * 5) % days).timestamp()))
        for u in range(N_USERS)
        for k in range(steps)
    ]


FIRST_MONTH = events(steps=20, since=0, days=28)
REPEATED = [(user, item, int(day(30 + n % 25).timestamp())) for n, (user, item, _) in enumerate(FIRST_MONTH[::2])]
SECOND_MONTH = [*FIRST_MONTH, *REPEATED, *events(steps=8, since=30, days=25)]


@pytest.fixture
def shop(workspace: Workspace) -> Workspace:
    Path("raw").mkdir()
    columns = {"user_id": "user", "item_id": "item", "value": None, "timestamp": "time"}
    workspace.params("ingest", {"source": "table", "path": "raw", "table.columns": columns})
    workspace.params("ingest", {"table.interactions": ["events.csv"], "table.text": "{item_id}"})
    return workspace


def run(of: Iterable[Event]) -> tuple[dict[str, Any], Parts]:
    """holdout.json and the pairs of each part."""
    with Path("raw/events.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "time"), *of])
    ingest.main()
    write_validate()
    split.main()
    users, items = (column(name, f"{name[:-1]}_id") for name in ("users", "items"))
    found = {
        part: {(users[u], items[i]) for u, i in zip(column(part, "user_idx"), column(part, "item_idx"), strict=True)}
        for part in ("train", "valid", "test")
    }
    return outputs.read_json(Path("data/split/holdout.json")), found


def column(table: str, name: str) -> list[Any]:
    return tables.read(Path(f"data/split/{table}.parquet"))[name].to_pylist()


@pytest.mark.parametrize("rule", ["last", "max", "sum"])
def test_a_pair_that_is_repeated_a_month_later_stays_out_of_the_later_test_set(shop: Workspace, rule: str) -> None:
    shop.params("ingest", {"duplicates": rule})
    shop.params("split", {"strategy": "time"})
    then, before = run(FIRST_MONTH)
    now, after = run(SECOND_MONTH)
    repeated = {event[:2] for event in REPEATED} & before["train"]
    assert len(repeated) > 200
    assert now["cutoffs"] > then["cutoffs"]
    assert leakage.seen(Split.of(then), Split.of(now)) is None
    assert not after["test"] & (before["train"] | before["valid"])
    assert repeated <= after["train"]


@pytest.mark.parametrize(("pseudonyms", "seen"), [(None, False), ("LONGTAIL_KEY", True)])
def test_users_who_get_pseudonyms_are_drawn_anew_by_hash_and_that_is_noticed(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch, pseudonyms: str | None, seen: bool
) -> None:
    monkeypatch.setenv("LONGTAIL_KEY", KEY)
    shop.params("split", {"strategy": "hash"})
    then, before = run(FIRST_MONTH)
    shop.params("ingest", {"pseudonyms": pseudonyms})
    now, after = run(SECOND_MONTH)
    known = {(name(user, pseudonyms), item) for user, item in before["train"] | before["valid"]}
    assert bool(known & after["test"]) == seen
    assert bool(leakage.seen(Split.of(then), Split.of(now))) == seen


def name(user_id: str, pseudonyms: str | None) -> str:
    return user_id if pseudonyms is None else pseudonym(user_id, KEY.encode())


@pytest.mark.parametrize("strategy", ["time", "hash"])
@pytest.mark.parametrize(("then", "now", "fair"), [(0.1, 0.3, False), (0.3, 0.1, True), (0.2, 0.2, True)])
def test_items_withheld_now_were_withheld_from_a_champion_that_may_be_compared_with(
    shop: Workspace, strategy: str, then: float, now: float, fair: bool
) -> None:
    shop.params("split", {"strategy": strategy, "cold_items": then})
    split_then, before = run(FIRST_MONTH)
    shop.params("split", {"cold_items": now})
    split_now, after = run(SECOND_MONTH)
    items = {item for _, item, _ in SECOND_MONTH}
    cold = items - {item for _, item in after["train"]}
    assert cold
    assert not cold & {item for _, item in before["train"]} if fair else cold & {item for _, item in before["train"]}
    assert (leakage.seen(Split.of(split_then), Split.of(split_now)) is None) == fair
