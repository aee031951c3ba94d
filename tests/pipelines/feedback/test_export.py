"""Events become files of interactions: each event in one file, none missing, readable by ingest."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from bento.feedback.store import EVENTS, Events
from models.inference.feedback_event import Event
from pipelines.feedback import export as feedback_export
from pipelines.feedback import store
from pipelines.ingest import stage as ingest
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from tests import postgres
from tests.conftest import Workspace

CLICK = Event("a", "u1", "i1", "click", None, 1_700_000_000.5)
LIKE = Event("b", 'ü ,"x"', "0007", "like", 4.5)
SHOWN = Event("c", "u1", "i3", "impression")


@pytest.fixture
def events(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Events:
    """A store, in a folder whose params.yaml reads tables of its own."""
    url = f"sqlite:///{workspace.root / 'events.sqlite'}"
    monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", url)
    monkeypatch.setattr("pipelines.workspace.git.lock", lambda name: open_lock())
    configure(workspace)
    return Events(url)


def open_lock() -> object:
    from contextlib import nullcontext

    return nullcontext()


def configure(workspace: Workspace) -> None:
    (workspace.root / "data/raw").mkdir(parents=True)
    rows = "".join(f"u{n},i{n % 3},2020-01-01T00:00:00Z\n" for n in range(5))
    (workspace.root / "data/raw/events.csv").write_text(f"customer,sku,at\n{rows}")
    workspace.params(
        "ingest",
        {
            "source": "table",
            "table.interactions": ["events.csv", "feedback-*.parquet"],
            "table.columns": {"user_id": "customer", "item_id": "sku", "value": None, "timestamp": "at"},
            "table.timestamp_unit": "iso",
        },
    )


def export() -> tuple[Path | None, int]:
    return feedback_export.export(load(Ingest))


def test_positive_events_are_written_under_the_sources_names(events: Events) -> None:
    events.add([CLICK, SHOWN, LIKE])
    path, n_events = export()
    assert path is not None
    assert n_events == 2
    table = pq.read_table(path)
    assert table.column_names == ["customer", "sku", "at"]
    assert table["customer"].to_pylist() == ["u1", LIKE.user_id]
    assert table["sku"].to_pylist() == ["i1", "0007"]
    assert str(table["at"][0]).startswith("2023-11-14 22:13:20.5")


def test_an_event_without_a_value_counts_as_the_least_that_is_accepted(events: Events, workspace: Workspace) -> None:
    workspace.params("ingest", {"table.columns": {"user_id": "c", "item_id": "s", "value": "stars", "timestamp": None}})
    workspace.params("ingest", {"table.min_value": 4.0})
    events.add([CLICK, LIKE])
    path, _ = export()
    assert path is not None
    assert pq.read_table(path).to_pydict() == {"c": ["u1", LIKE.user_id], "s": ["i1", "0007"], "stars": [4.0, 4.5]}


def test_an_export_writes_what_is_new_and_repeated_writes_nothing(events: Events) -> None:
    assert export() == (None, 0)  # nobody has reported anything yet
    events.add([CLICK])
    first, _ = export()
    assert export() == (None, 0)
    events.add([SHOWN])
    assert export() == (None, 0)
    events.add([LIKE])
    second, n_events = export()
    assert (n_events, first != second) == (1, True)
    assert second is not None
    assert re.fullmatch(r"feedback-[0-9a-f]{8}-000000000002-000000000003\.parquet", second.name)


def test_another_store_is_exported_from_its_beginning(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    events.add([CLICK])
    export()
    monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", "sqlite:///other.sqlite")
    Events().add([LIKE])
    assert export()[1] == 1


def test_an_interrupted_export_leaves_nothing_and_is_made_up_for(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    events.add([CLICK])

    def fail(path: Path) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.artifacts.outputs.sync", fail)
        with pytest.raises(OSError, match="disk full"):
            export()
    assert sorted(path.name for path in Path("data/raw").iterdir()) == ["events.csv"]
    assert export()[1] == 1


def test_ingest_reads_what_was_exported(events: Events) -> None:
    events.add([CLICK, LIKE, SHOWN])
    export()
    ingest.main()
    pairs = pq.read_table("data/ingest/interactions.parquet", columns=["user_id", "item_id"]).to_pylist()
    assert {"user_id": "u1", "item_id": "i1"} in pairs
    assert {"user_id": LIKE.user_id, "item_id": "0007"} in pairs
    assert len(pairs) == 5 + 1  # u1 had interacted with i1 before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source": "demo"}, "ingest.source is demo"),
        ({"url": "https://example.org/a.zip"}, "ingest.url is set"),
        ({"pseudonyms": "KEY"}, "ingest.pseudonyms is set"),
        ({"path": "data/raw/events.csv"}, "expected a folder"),
        ({"table.interactions": ["*.csv"]}, r"does not match feedback-\*\.parquet"),
    ],
)
def test_a_source_that_would_not_read_the_file_is_named(
    events: Events, workspace: Workspace, changes: dict[str, object], says: str
) -> None:
    events.add([CLICK])
    workspace.params("ingest", changes)
    with pytest.raises(ValueError, match=says):
        export()


def test_a_store_that_cannot_be_read_is_named_without_its_password(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", "postgresql+psycopg://longtail:secret@127.0.0.1:1/none")
    with pytest.raises(ValueError, match="cannot be read") as caught:
        export()
    assert "secret" not in str(caught.value)


def test_events_of_a_user_are_counted_and_removed(events: Events) -> None:
    assert store.count("u1") == 0
    events.add([CLICK, LIKE, SHOWN])
    assert store.count("u1") == 2
    store.remove("u1")
    assert (store.count("u1"), store.count(LIKE.user_id)) == (0, 1)


@pytest.mark.slow
def test_postgresql_is_exported_as_well(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.serving() as url:
        monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", url)
        assert export() == (None, 0)
        Events(url).add([CLICK, LIKE])
        assert export()[1] == 2
        assert export() == (None, 0)


@pytest.mark.slow
def test_an_export_waits_for_writers_with_lower_numbers(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a commit that comes later than its number would never be exported. SQLite has one writer at a time."""
    with postgres.serving() as url:
        monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", url)
        found: list[int] = []
        with Events(url).engine.connect() as con:
            row = {"event_id": "slow", "user_id": "u", "item_id": "i", "kind": "click", "received": 1.7e9}
            con.execute(sa.insert(EVENTS).values(**row))
            exporting = threading.Thread(target=lambda: found.append(export()[1]))
            exporting.start()
            exporting.join(0.3)
            assert exporting.is_alive()
            con.commit()
        exporting.join()
        assert found == [1]
