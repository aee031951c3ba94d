"""One bad event stops nothing: what the service accepts ingest accepts, and what is in the future is a rejected row."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bento.feedback.store import Events
from models.inference import event_bounds
from models.inference.feedback_event import Event
from pipelines.artifacts import outputs as artifacts
from pipelines.artifacts import tables
from pipelines.feedback import export
from pipelines.ingest import stage as ingest
from pipelines.ingest.canonical import first_read
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from pipelines.validate import stage as validate
from tests.bento.feedback_server import Service, app
from tests.conftest import Workspace

NOW = int(time.time())
PAST = 1_600_000_000
DAY = 86400
SETTINGS = {
    "source": "table",
    "path": "raw",
    "table.columns": {"user_id": "user", "item_id": "item", "value": "value", "timestamp": "at"},
}


@pytest.fixture
def raw(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a source with 1,200 sound events; the store of feedback is empty."""
    monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", f"sqlite:///{workspace.root / 'events.sqlite'}")
    folder = workspace.root / "raw"
    folder.mkdir()
    write(folder)
    workspace.params("ingest", SETTINGS)
    return folder


def write(folder: Path, *more: str) -> None:
    rows = [f"u{n % 60},i{(n * 7 + n // 60) % 60},1,{PAST + n}" for n in range(1200)]
    (folder / "interactions.csv").write_text("\n".join(["user,item,value,at", *rows, *more, ""]), "utf-8")


def rejected() -> list[tuple[str, int, str]]:
    rows = tables.read(Path("data/ingest/rejected.parquet")).to_pylist()
    return [(row["file"], row["line"], row["reason"]) for row in rows]


def outputs() -> dict[str, Any]:
    files: dict[str, Any] = artifacts.read_manifest(Path("data/ingest"))["files"]
    return files


@pytest.mark.slow
def test_a_future_event_is_a_rejected_row_and_the_data_are_validated(raw: Path, workspace: Workspace) -> None:
    workspace.params("validate", {"max_empty_text": 1.0})
    write(raw, f"late,i1,1,{NOW + 5 * DAY}", f"early,i1,1,{NOW - 60}", f"ahead,i1,1,{NOW + DAY - 600}")
    ingest.main()
    validate.main()
    assert rejected() == [("interactions.csv", 1202, "timestamp_in_future")]
    row = tables.read(Path("data/ingest/rejected.parquet")).to_pylist()[0]
    assert "more than a day after" in row["detail"]
    assert "when the file was first read" in row["detail"]


def test_future_events_beyond_the_share_stop_the_run(raw: Path) -> None:
    write(raw, *(f"u{n},i{n % 60},1,{NOW + 5 * DAY}" for n in range(100)))
    with pytest.raises(ValueError, match=r"7\.69% of 1,300 rows .* timestamp_in_future 100"):
        ingest.main()


def test_a_file_is_judged_as_when_it_was_first_read(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(raw, f"late,i1,1,{NOW + 5 * DAY}")
    ingest.main()
    first = outputs()
    monkeypatch.setattr("pipelines.ingest.canonical.first_read.time.time", lambda: NOW + 30 * DAY)
    for _ in range(2):
        ingest.main()
        assert outputs() == first
        for folder in Path(".longtail/partitions").iterdir():  # as where nothing was judged before
            folder.rename(folder.with_name(f"gone-{folder.name}"))


def test_a_changed_file_is_judged_anew(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(raw, f"late,i1,1,{NOW + 5 * DAY}")
    ingest.main()
    monkeypatch.setattr("pipelines.ingest.canonical.first_read.time.time", lambda: NOW + 30 * DAY)
    write(raw, f"late,i1,1,{NOW + 5 * DAY}", f"u1,i1,1,{NOW}")
    ingest.main()
    assert rejected() == []


def test_a_run_that_failed_by_a_wrong_clock_leaves_no_moment(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.ingest.canonical.first_read.time.time", lambda: PAST - 30 * DAY)
    with pytest.raises(ValueError, match="timestamp_in_future 1,200"):
        ingest.main()
    monkeypatch.undo()
    monkeypatch.chdir(raw.parent)
    ingest.main()
    assert rejected() == []


def test_until_leaves_future_events_out_whenever_the_file_is_read(raw: Path, workspace: Workspace) -> None:
    write(raw, *(f"u{n},i{n % 60},1,{NOW + 5 * DAY}" for n in range(100)))
    workspace.params("ingest", {"until": "2024-01-01"})
    ingest.main()
    assert {reason for _, _, reason in rejected()} == {"after_until"}


def test_a_moment_that_was_cut_short_is_no_moment(workspace: Workspace) -> None:
    first_read.folder().mkdir(parents=True)
    (first_read.folder() / "ab").write_text("2026-1")
    assert abs(first_read.moment("ab").timestamp() - time.time()) < 600


EVENTS = st.fixed_dictionaries(
    {
        "user_id": st.text(min_size=1, max_size=4) | st.sampled_from(["\u00a0", " \u3000", "NA", "x" * 257, "a\u0085"]),
        "item_id": st.just("i1"),
        "value": st.none() | st.floats(-1, 3.41e38) | st.sampled_from([1e-45, 1e-46, 3.3e38, 3.41e38, 1e300]),
        "timestamp": st.none() | st.floats(event_bounds.FIRST - 5, NOW + 3 * DAY) | st.sampled_from([4.1e9, 1e18]),
    }
)


@given(events=st.lists(EVENTS, min_size=1, max_size=10))
@settings(max_examples=15, phases=[Phase.explicit, Phase.generate])  # each is a whole loop
@pytest.mark.slow
def test_the_export_of_what_the_service_accepted_has_no_malformed_row(
    events: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("loop")
        patch.chdir(root)
        patch.setenv("LONGTAIL_FEEDBACK_DB", f"sqlite:///{root / 'events.sqlite'}")
        patch.setattr("pipelines.workspace.git.lock", lambda name: nullcontext())
        workspace = Workspace(root)
        Path("raw").mkdir()
        write(Path("raw"))
        workspace.params("ingest", SETTINGS)
        client = TestClient(app(Service()))
        bodies = [{**event, "event_id": f"e{n}", "kind": "click"} for n, event in enumerate(events)]
        answers = [client.post("/feedback", json=body) for body in bodies]
        assert {answer.status_code for answer in answers} <= {200, 400}
        _, n_events = export.export(load(Ingest))
        assert n_events == sum(answer.status_code == 200 for answer in answers)
        ingest.main()
        assert rejected() == []


def test_a_batch_with_bad_events_is_refused_whole_and_each_is_named(raw: Path) -> None:
    client = TestClient(app(Service()))
    event = {"user_id": "u", "item_id": "i", "kind": "click"}
    times = [NOW, NOW + 3 * DAY, 4.09e9, NOW + DAY - 600]
    batch = [{**event, "event_id": f"e{n}", "timestamp": at} for n, at in enumerate(times)]
    answer = client.post("/feedback", json={"events": batch})
    assert answer.status_code == 400
    assert [problem["at"] for problem in answer.json()["detail"]] == [["events", n, "timestamp"] for n in (1, 2)]
    assert "more than a day in the future" in answer.json()["detail"][0]["problem"]
    assert client.post("/feedback", json={"events": [batch[0], batch[3]]}).json()["stored"] == 2


def test_an_export_leaves_out_what_the_store_should_not_hold(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a service before this one, or of another writer: up to the year 2099 used to be accepted."""
    Events().add(
        [
            Event("a", "u1", "i1", "click", None, float(PAST)),
            Event("b", "u1", "i1", "click", None, 4.0e9),
            Event("c", "\u00a0", "i1", "click"),
            Event("d", "u1", "i1", "click", None, 1e15),
            Event("e", "u1", "i1", "like", 1e-60),
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.workspace.git.lock", lambda name: nullcontext())
        path, n_events = export.export(load(Ingest))
    assert path is not None
    assert n_events == 1
    said = "(bad_user_id 1, timestamp_in_future 1, timestamp_out_of_range 1, value_not_positive 1)"
    assert f"4 events are skipped {said}" in capsys.readouterr().out
    ingest.main()
    assert rejected() == []


WRONG = {  # a row of interactions by its reason; None: it is good
    f"{'u' * 257},i1,1,{PAST}": "bad_user_id",
    f",i1,1,{PAST}": "empty_user_id",
    f"\u00a0,i1,1,{PAST}": "empty_user_id",
    f"u\x1b[31m,i1,1,{PAST}": "bad_user_id",
    f"u1,{'i' * 257},1,{PAST}": "bad_item_id",
    f"u1,no such item,1,{PAST}": "unknown_item",
    f"u1,i1,nan,{PAST}": "value_not_finite",
    f"u1,i1,1e39,{PAST}": "value_not_finite",
    f"u1,i1,1e-46,{PAST}": "value_not_positive",
    f"u1,i1,-1,{PAST}": "value_not_positive",
    f"u1,i1,1e-45,{PAST}": None,
    f"u1,i1,3.4e38,{PAST}": None,
    "u1,i1,1,0": "timestamp_out_of_range",
    f"u1,i1,1,{PAST}000": "timestamp_out_of_range",
    f"u1,i1,1,{event_bounds.LAST - 1}": "timestamp_in_future",
    f"u1,i1,1,{NOW + 3 * DAY}": "timestamp_in_future",
    f"u1,i1,1,{NOW + DAY - 3600}": None,
    "u1,i1,1,yesterday": "timestamp_not_readable",
    "u1,i1": "wrong_field_count",
    'u1,"i1,1,1': "broken_quote",
}
WRONG_ITEMS = {
    f"i1,again,{'w ' * 3}": "duplicate_item",
    f"{'x' * 257},long,words": "bad_item_id",
    f"long,text,{'w ' * 1_100_000}": None,
    "html,<script>alert(1)</script>,![x](http://e) \x1b[2J": None,
}


@pytest.mark.slow
def test_one_bad_row_of_every_kind_stops_nothing(raw: Path, workspace: Workspace) -> None:
    """The rows are in `rejected.parquet` with file, line and reason; no expectation of a row can fail by them."""
    write(raw, *WRONG)
    items = [f"i{n},title {n},words of {n}" for n in range(200)]
    (raw / "items.csv").write_text("\n".join(["item,name,about", *items, *WRONG_ITEMS, ""]), "utf-8")
    workspace.params(
        "ingest",
        {
            "table.items": ["items.csv"],
            "table.item_columns": {"item_id": "item", "title": "name"},
            "table.text": "{title}. {about}",
        },
    )
    ingest.main()
    validate.main()
    expected = [("interactions.csv", line, reason) for line, reason in enumerate(WRONG.values(), start=1202) if reason]
    expected += [("items.csv", line, reason) for line, reason in enumerate(WRONG_ITEMS.values(), start=202) if reason]
    assert rejected() == expected
