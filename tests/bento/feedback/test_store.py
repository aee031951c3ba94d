"""The store of events, on SQLite and on PostgreSQL: once each, durable, complete for exports."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bento.feedback import store
from bento.feedback.store import EVENTS, Events
from models.inference.feedback_event import FIELDS, Event
from tests import postgres
from tests.bento.stored_events import numbered, stored

A = Event("a", "u1", "i1", "click", 2.5, 1_700_000_000.25)
B = Event("b", "u1", "i2", "like")
SHOWN = Event("c", "u1", "i3", "impression")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres.serving() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'events.sqlite'}"
    found: str = request.getfixturevalue("database")
    Events(found)  # creates nothing yet
    engine = sa.create_engine(found)
    with engine.begin() as con:
        con.execute(sa.text("drop table if exists longtail_events, longtail_store"))
    engine.dispose()
    return found


def test_a_store_of_an_earlier_version_keeps_its_events_and_gets_the_columns_that_it_lacks(url: str) -> None:
    """A field that `Event` got later is a column that older stores lack."""
    if url.startswith("sqlite"):
        Path(sa.make_url(url).database or "").parent.mkdir()
    engine = sa.create_engine(url)
    number = "integer primary key autoincrement" if url.startswith("sqlite") else "bigserial primary key"
    with engine.begin() as con:
        con.execute(sa.text("create table longtail_store (store_id varchar(8) primary key)"))
        con.execute(sa.text("insert into longtail_store values ('0123abcd')"))
        con.execute(
            sa.text(
                f"""create table longtail_events (
                      seq {number}, event_id varchar(256) not null unique, user_id varchar(256) not null,
                      item_id varchar(256) not null, kind varchar(16) not null, received double precision not null)"""
            )
        )
        con.execute(
            sa.text(
                """insert into longtail_events (event_id, user_id, item_id, kind, received)
                   values ('b', 'u1', 'i2', 'like', 1700000000)"""
            )
        )
    engine.dispose()
    events = Events(url)
    assert stored(events) == [B]
    assert events.add([A, B]) == ["stored", "duplicate"]
    assert Events(url).items_of("u1") == ["i1", "i2"]
    assert stored(Events(url)) == [B, A]
    with events.engine.connect() as con:
        assert con.execute(sa.text("select store_id from longtail_store")).scalars().all() == ["0123abcd"]


def test_the_table_has_a_column_for_every_field_of_an_event(url: str) -> None:
    with Events(url).engine.connect() as con:
        columns = sa.inspect(con).get_columns("longtail_events")
    assert [column["name"] for column in columns] == ["seq", *FIELDS, "received"]
    assert [column["name"] for column in columns if column["nullable"]] == [
        field.name for field in fields(Event) if field.default is None
    ]


def test_an_event_is_stored_once_however_often_it_comes(url: str) -> None:
    events = Events(url)
    assert events.add([A, B]) == ["stored", "stored"]
    assert Events(url).add([B, A, SHOWN]) == ["duplicate", "duplicate", "stored"]
    assert stored(events) == [A, B, SHOWN]


def test_the_same_id_with_another_content_is_a_conflict_and_changes_nothing(url: str) -> None:
    events = Events(url)
    events.add([A])
    changes: list[dict[str, Any]] = [{"item_id": "i9"}, {"value": None}, {"timestamp": 1.7e9}, {"kind": "like"}]
    for change in changes:
        assert events.add([replace(A, **change), B]) in (["conflict", "stored"], ["conflict", "duplicate"])
    assert stored(events) == [A, B]


def test_of_one_id_twice_in_a_batch_the_first_counts(url: str) -> None:
    assert Events(url).add([A, A, replace(A, user_id="u2")]) == ["stored", "duplicate", "conflict"]


def test_a_batch_longer_than_a_statement_is_stored_whole(url: str) -> None:
    events = Events(url)
    many = [Event(f"e{n}", "u", f"i{n}", "click") for n in range(1000)]
    assert set(events.add(many)) == {"stored"}
    assert set(stored(events)) == set(many)


def test_a_users_items_are_distinct_newest_first_and_without_impressions(url: str) -> None:
    events = Events(url)
    again = Event("d", "u1", "i1", "purchase")
    events.add([A, B, SHOWN, Event("e", "u2", "i5", "click")])
    assert events.items_of("u1") == ["i2", "i1"]
    events.add([again])
    assert events.items_of("u1") == ["i1", "i2"]
    assert events.items_of("nobody") == []


def test_a_number_is_never_given_again(url: str) -> None:
    """An export goes on after the last number that it has seen."""
    events = Events(url)
    events.add([A, B])
    last, _ = numbered(events)[-1]
    with events.engine.begin() as con:
        con.execute(sa.delete(EVENTS))
    events.add([A])
    assert numbered(events)[0][0] > last


def test_writers_side_by_side_store_every_event_once(url: str) -> None:
    """The same events from four writers at once, in different orders."""
    events = [Event(f"e{n}", "u", f"i{n}", "click") for n in range(40)]
    outcomes: list[str] = []

    def write(step: int) -> None:
        store = Events(url)
        for start in range(0, 40, 8):
            batch = [events[(start + n) * step % 40] for n in range(8)]
            outcomes.extend(store.add(batch))

    threads = [threading.Thread(target=write, args=(step,)) for step in (1, 3, 7, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("stored"), len(outcomes)) == (40, 160)
    assert len(stored(Events(url))) == 40


def test_reading_makes_no_file_and_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    events = Events(f"sqlite:///{path}")
    assert events.items_of("u1") == []
    assert not path.exists()
    events.add([A])
    assert sqlite3.connect(path).execute("pragma journal_mode").fetchone() == ("wal",)
    with events.reading() as con:
        assert con.execute(sa.text("pragma synchronous")).scalar() == 2  # FULL


def test_the_change_counter_tells_of_every_commit_whoever_made_it(tmp_path: Path) -> None:
    """Ours are made on other connections of the same pool, which must never be the one that counts."""
    events = Events(f"sqlite:///{tmp_path / 'events.sqlite'}")
    counter = events.change_counter()
    assert counter is not None
    seen = [counter()]
    assert counter() == seen[0]
    for number in range(5):
        writer = Events(str(events.url)) if number % 2 else events
        writer.add([replace(A, event_id=str(number))])
        events.items_of("u1")
        seen.append(counter())
    assert len(set(seen)) == 6


def test_who_opens_a_new_store_waits_for_its_log_while_another_holds_the_file(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "new.sqlite", isolation_level=None, check_same_thread=False)
    holder.execute("create table t (a)")
    holder.execute("begin exclusive")
    other = sqlite3.connect(tmp_path / "new.sqlite", timeout=0)
    release = threading.Timer(0.2, holder.rollback)
    release.start()
    store.keep_a_log(other)
    release.join()
    assert other.execute("pragma journal_mode").fetchone() == ("wal",)


def test_a_store_that_cannot_be_written_is_no_reason_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.sqlite"
    sqlite3.connect(path).execute("create table t (a)")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited"))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store.keep_a_log(sqlite3.connect(f"file:{path}?mode=ro", uri=True))
