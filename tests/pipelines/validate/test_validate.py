"""Each family of expectations can fail, names what it found, and leaves nothing that looks like a pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.artifacts import outputs
from pipelines.runtime import console
from pipelines.settings.engine import Engine
from pipelines.validate import expectations
from pipelines.validate import report as report_json
from pipelines.validate import stage as validate
from tests.conftest import Workspace
from tests.pipelines.canonical import Row, catalogue, interactions, item_ids, rows, write_ingest

N_ITEMS = 60
ROWS = rows(60, N_ITEMS)
N = len(ROWS)
IDS = item_ids(N_ITEMS)


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    workspace.params("validate", {"min_interactions": 100})
    return workspace


def run_validate(table: pa.Table | None = None, items: pa.Table | None = None) -> dict[str, Any]:
    write_ingest(interactions(ROWS) if table is None else table, catalogue(IDS) if items is None else items)
    validate.main()
    report: dict[str, Any] = outputs.read_json(Path("data/validate/report.json"))
    return report


def first(value: Any) -> list[Row]:
    """The rows with another value in the first of them."""
    user_id, item_id, _, timestamp = ROWS[0]
    return [(user_id, item_id, value, timestamp), *ROWS[1:]]


@pytest.mark.slow
def test_good_tables_pass_and_are_described(workspace: Workspace) -> None:
    report = run_validate()

    assert report["success"]
    assert report["n_expectations"] == len(report["expectations"]) >= 20
    assert {check["table"] for check in report["expectations"]} == {"columns", "interactions", "items", "users"}
    assert not any(check["error"] for check in report["expectations"])
    observed = {(check["table"], check["name"]): check["observed"] for check in report["expectations"]}
    assert observed["interactions", "there are at least 100 interactions"] == N
    assert observed["interactions", "every value is positive and finite"] == {"rows": N, "unexpected": 0}
    assert observed["users", "there are at least 50 users"] == 60
    assert observed["columns", "every column is there with its type"] == {"rows": 9, "unexpected": 0}


@pytest.mark.slow
def test_equal_tables_give_equal_reports_and_leave_nothing_else(workspace: Workspace) -> None:
    run_validate()
    before = {path.name: path.read_bytes() for path in Path("data/validate").iterdir()}

    run_validate()

    assert {path.name: path.read_bytes() for path in Path("data/validate").iterdir()} == before
    assert set(before) == {"manifest.json", "profile.json", "quarantine.parquet", "report.html", "report.json"}
    assert {path.name for path in workspace.root.rglob("*") if path.is_dir()} >= {"data", "ingest", "validate"}
    assert not list(workspace.root.rglob("gx*")) + list(workspace.root.rglob("*.tmp"))


@pytest.mark.slow
def test_the_page_needs_no_network(workspace: Workspace) -> None:
    run_validate()

    page = Path("data/validate/report.html").read_text("utf-8")
    assert "every value is positive and finite" in page
    assert not re.findall(r"https?://|<script|<link|\bsrc=|url\(", page)


def replaced(name: str, values: list[Any]) -> Callable[[], dict[str, Any]]:
    return lambda: {"table": interactions(ROWS, **{name: values})}


FAMILIES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "type": (
        replaced("value", [1] * N),
        "columns: expected that every column is there with its type "
        r"\(1 of 9 rows do not, such as .*interactions.value int64.*interactions.value float",
    ),
    "missing column": (
        lambda: {"table": interactions(ROWS).drop_columns(["timestamp"])},
        "interactions.timestamp absent",
    ),
    "unknown column": (
        lambda: {"table": interactions(ROWS).append_column("mood", pa.array(["good"] * N))},
        "interactions.mood string.*interactions.mood absent",
    ),
    "completeness": (
        lambda: {"table": interactions(first(None))},
        rf"interactions: expected that every value is present \(1 of {N} rows do not",
    ),
    "all null": (
        lambda: {"table": interactions([(*row[:2], None, row[3]) for row in ROWS])},  # type: ignore[misc]
        rf"every value is present \({N} of {N} rows do not",
    ),
    "compound uniqueness": (
        lambda: {"table": interactions([*ROWS, ROWS[0]])},
        rf"every pair of user_id and item_id occurs once, in order \(1 of {N + 1} rows do not, such as u000 with i",
    ),
    "item uniqueness": (lambda: {"items": catalogue([*IDS, "i000"])}, r"items: .*every item_id occurs once \(2 of 61"),
    "zero": (lambda: {"table": interactions(first(0.0))}, r"every value is positive and finite \(1 of .* such as 0"),
    "nan": (lambda: {"table": interactions(first(float("nan")))}, r"positive and finite \(1 of .* such as nan"),
    "nan among equal values": (
        lambda: {
            "table": interactions([(*ROWS[0][:2], float("nan"), ROWS[0][3]), *((*r[:2], 2.0, r[3]) for r in ROWS[1:])])
        },
        r"positive and finite \(1 of .* such as nan",
    ),
    "infinity": (lambda: {"table": interactions(first(float("inf")))}, r"positive and finite \(1 of .* such as inf"),
    "early timestamp": (
        lambda: {"table": interactions([(*ROWS[0][:3], datetime(1970, 1, 1, tzinfo=UTC)), *ROWS[1:]])},
        r"every timestamp lies between 1990 and 2100 \(1 of .* such as 1970-01-01",
    ),
    "merged rows": (
        lambda: {"table": interactions(ROWS, n_events=np.array([0] + [1] * (N - 1), np.int32))},
        "every n_events is at least 1",
    ),
    "foreign key": (
        lambda: {"items": catalogue(IDS[1:])},
        r"every item_id is one of items \(\d+ of \d+ rows do not, such as i000, i000",
    ),
    "empty id": (lambda: {"items": catalogue(["", *IDS])}, "items: .*every item_id has 1 to 512 characters"),
    "long id": (
        lambda: {"table": interactions([("u" * 513, *ROWS[0][1:]), *ROWS[1:]])},
        "interactions: .*every user_id has 1 to 512 characters",
    ),
    "empty texts": (
        lambda: {"items": catalogue(IDS, text=[" ", ""] * 20 + ["words"] * 20)},
        "items: .*at most 50% of the texts are empty",
    ),
    "few interactions": (
        lambda: {"table": interactions([row for row in ROWS if row[0] < "u010"])},
        r"there are at least 100 interactions \(found 58\): check the source.* \[few_interactions\]; .*",
    ),
    "empty tables": (
        lambda: {"table": interactions([]), "items": catalogue(IDS, text=IDS)},
        r"there are at least 100 interactions \(found 0\)",
    ),
    "few items": (lambda: {"items": catalogue(IDS[:30])}, r"items: .*there are at least 50 items \(found 30\)"),
    "few users": (
        lambda: {
            "table": interactions([(f"u{int(u[1:]) % 40:03}{i}"[:4], i, v, t) for u, i, v, t in ROWS if u < "u040"])
        },
        r"users: .*there are at least 50 users \(found 40\)",
    ),
    "one loud user": (
        lambda: {"table": interactions([*ROWS, *(("loud", i, 1.0, None) for i in IDS)])},
        r"users: .*no user has more than 10% of the interactions \(found 1\d\.\d\d%",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_of_expectations_can_fail(workspace: Workspace, family: str) -> None:
    tables_of, words = FAMILIES[family]

    with pytest.raises(ValueError, match=words) as caught:
        run_validate(**tables_of())

    assert not Path("data/validate").exists()
    assert "read data/validate.failed.html" in str(caught.value)
    assert "it could not be evaluated" not in str(caught.value)
    assert Path("data/validate.failed.html").stat().st_size > 1000


@pytest.mark.slow
def test_in_airflow_neither_message_nor_page_names_a_user(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git keeps both with the run, out of reach of `longtail forget`."""
    monkeypatch.setenv(console.RUN, "manual__1")
    with pytest.raises(ValueError, match=r"occurs once, in order .*rows do not\)") as caught:
        run_validate(interactions([*ROWS, ROWS[0]]))
    page = Path("data/validate.failed.html").read_text("utf-8")
    assert 'read the tab "Gate report" of this run' in str(caught.value)
    for text in (str(caught.value), page):
        assert ROWS[0][0] not in text


@pytest.mark.slow
def test_a_later_pass_removes_the_page_of_the_failure(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="positive"):
        run_validate(interactions(first(0.0)))
    assert Path("data/validate.failed.html").exists()

    run_validate()

    assert not Path("data/validate.failed.html").exists()


@pytest.mark.slow
def test_markup_in_the_data_stays_text_in_the_page(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="occurs once"):
        run_validate(items=catalogue([*IDS, *["<script>alert(1)</script>"] * 2]))

    page = Path("data/validate.failed.html").read_text("utf-8")
    assert "alert(1)" in page
    assert "<script>" not in page


def test_a_suite_that_is_too_short_counts_as_failed(workspace: Workspace) -> None:
    workspace.params("validate", {"min_expectations": 1000})

    with pytest.raises(ValueError, match=r"the suite holds \d+ expectations, expected at least 1000"):
        run_validate()

    assert not Path("data/validate").exists()


def test_an_empty_suite_counts_as_failed() -> None:
    report = report_json.judge({}, min_expectations=1, warn=[])

    assert not report["success"]
    assert report["verdict"] == "the suite holds 0 expectations, expected at least 1"


def test_an_expectation_that_raises_counts_as_failed_and_says_why(tmp_path: Path) -> None:
    suite: expectations.Suite = [
        expectations.gxe.ExpectColumnValuesToBeBetween(column="absent", min_value=0, description="absent is positive"),
        expectations.gxe.ExpectTableRowCountToBeBetween(min_value=1, description="there are rows"),
    ]
    engine = Engine(name="duckdb", master="local", settings={})
    with expectations.source(outputs.StageRun("validate", tmp_path), "1GB", engine) as source:
        source.engine.view("things", "select 1 as present")
        results = {"things": source.check("things", suite)}

    report = report_json.judge(results, min_expectations=1, warn=["expect_column_values_to_be_between"])

    assert [check["success"] for check in report["expectations"]] == [False, True]
    assert not report["success"]
    assert re.search(r'absent is positive \(it could not be evaluated: .*"absent".* does not exist', report["verdict"])


@pytest.mark.slow
def test_too_little_memory_is_no_finding_about_the_data(workspace: Workspace) -> None:
    workspace.params("validate", {"memory_limit": "20MB"})
    many = interactions(rows(1000, 5000, per_user=200))
    with pytest.raises(ValueError, match=r"validate\.memory_limit is 20MB, which is not enough for this data"):
        run_validate(many, catalogue(item_ids(5000)))


@pytest.mark.slow
def test_a_flipped_byte_is_refused(workspace: Workspace) -> None:
    run_validate()
    path = Path("data/ingest/items.parquet")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(ValueError, match=r"items\.parquet is corrupted"):
        validate.main()
