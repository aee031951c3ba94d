"""Findings that stop a run or only warn, comparison with an earlier valid version, and custom expectations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts import outputs
from pipelines.validate import profile
from pipelines.validate import report as report_json
from pipelines.validate import stage as validate
from tests.conftest import Workspace
from tests.pipelines.canonical import Row, catalogue, day, interactions, item_ids, rows, write_ingest

N_ITEMS = 60
ROWS = rows(60, N_ITEMS)
IDS = item_ids(N_ITEMS)


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    workspace.params("validate", {"min_interactions": 100, "min_users": 1})
    return workspace


def judged(of: list[Row] = ROWS, **items: Any) -> dict[str, Any]:
    write_ingest(interactions(of), catalogue(IDS, **items))
    validate.main()
    report: dict[str, Any] = outputs.read_json(Path("data/validate/report.json"))
    return report


@pytest.mark.slow
def test_what_only_warns_is_said_with_its_remedy_and_stops_nothing(workspace: Workspace) -> None:
    report = judged(text=["the same, words"] * 20 + ["The same words!"] * 40)
    assert report["success"]
    assert report["n_warnings"] == 1
    assert "warning: items: expected that at most 50% of the texts repeat another's words" in report["verdict"]
    assert "[same_text]" in report["verdict"]
    assert "What to do" in Path("data/validate/report.html").read_text("utf-8")


@pytest.mark.slow
def test_the_same_finding_stops_where_the_settings_say_so(workspace: Workspace) -> None:
    workspace.params("validate", {"warn": []})
    with pytest.raises(ValueError, match=r"repeat another's words \(59 of 60 rows, 98\.3%.*\[same_text\]"):
        judged(text=["the same words"] * 60)


def test_a_code_that_is_none_is_refused(workspace: Workspace) -> None:
    workspace.params("validate", {"warn": ["same_texts"]})
    with pytest.raises(ValueError, match=r"validate\.warn has same_texts, expected codes .*: .*same_text"):
        judged()


@pytest.mark.slow
def test_an_event_in_the_future_names_the_setting_that_leaves_it_out(workspace: Workspace) -> None:
    late = datetime.now(UTC) + timedelta(days=3)
    with pytest.raises(ValueError, match=r"no timestamp lies in the future \(1 of .* with ingest\.until \[future\]"):
        judged([(*ROWS[0][:3], late), *ROWS[1:]])


@pytest.mark.slow
def test_items_that_nobody_touches_are_counted(workspace: Workspace) -> None:
    touched = [row for row in ROWS if row[1] < "i003"]
    workspace.params("validate", {"min_interactions": 1, "min_users": 1, "warn": ["few_touched_items"]})
    with pytest.raises(ValueError, match=r"at most 90% of the items have no interaction \(57 of 60 rows, 95\.0%"):
        judged(touched)


CUSTOM = {
    "code": "stars",
    "table": "interactions",
    "expect": "expect_column_values_to_be_between",
    "kwargs": {"column": "value", "max_value": 5},
    "says": "no value is above 5",
    "remedy": "ask the shop",
}


@pytest.mark.slow
def test_an_expectation_of_ones_own_stops_or_warns_like_any(workspace: Workspace) -> None:
    workspace.params("validate", {"custom": [CUSTOM]})
    assert judged()["n_expectations"] == 28
    high = [(*ROWS[0][:2], 6.0, ROWS[0][3]), *ROWS[1:]]
    with pytest.raises(ValueError, match=r"no value is above 5 \(1 of .* such as 6\.0\): ask the shop \[stars\]"):
        judged(high)
    workspace.params("validate", {"warn": ["stars"]})
    assert judged(high)["n_warnings"] == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"expect": "expect_good_taste"}, "expect_good_taste, which is not in Great Expectations"),
        ({"kwargs": {"min_value": 1}}, "validate.custom stars: .*column"),
    ],
)
def test_an_expectation_that_cannot_be_is_refused(workspace: Workspace, change: dict[str, Any], problem: str) -> None:
    workspace.params("validate", {"custom": [CUSTOM | change]})
    with pytest.raises(ValueError, match=problem):
        judged()


@pytest.mark.slow
def test_an_expectation_that_cannot_be_evaluated_stops_even_where_it_only_warns(workspace: Workspace) -> None:
    nonsense = CUSTOM | {"kwargs": {"column": "absent", "max_value": 5}}
    workspace.params("validate", {"custom": [nonsense], "warn": ["stars"]})
    with pytest.raises(ValueError, match=r"it could not be evaluated"):
        judged()


DRIFTS: dict[str, tuple[list[Row], str]] = {
    "half the data": (ROWS[: len(ROWS) // 2], "interactions did not shrink by more than 20% (found 0.4985 times the"),
    "half the users": ([(f"u{int(u[1:]) % 30:03}", f"i{(int(i[1:]) + 31 * (int(u[1:]) // 30)) % 60:03}", v, t)
                        for u, i, v, t in ROWS], "users did not shrink by more than 20% (found 0.5"),
    "a heavy user": ([*ROWS, *(("u999", i, 1.0, day(1)) for i in IDS)], "user grew by a factor of at most 3 (found"),
    "one item for everybody": ([*(r for r in ROWS if r[1] != "i000"), *((f"v{n:03}", "i000", 1.0, day(2))
                                for n in range(200))], "the share of the top 1% of items grew by at most 10% (found"),
    "other values": ([(*row[:2], 100.0, row[3]) for row in ROWS], "the distribution of values shifted by at most 20%"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_beside_the_last_good_version_is_said(workspace: Workspace, drift: str) -> None:
    of, words = DRIFTS[drift]
    of = list({row[:2]: row for row in of}.values())
    assert judged()["n_warnings"] == 0
    workspace.params("validate", {"max_user_share": 1.0})
    report = judged(of)
    failures = "; ".join(report_json.failure(check) for check in report["expectations"] if not check["success"])
    assert words in failures
    assert report["success"]


@pytest.mark.slow
def test_a_version_is_set_beside_the_one_before_it_however_often_it_runs(workspace: Workspace) -> None:
    first = judged()
    second = judged(ROWS[: len(ROWS) // 2])
    assert {check["table"] for check in first["expectations"]} == {"columns", "interactions", "items", "users"}
    assert second["n_warnings"] >= 1
    assert judged(ROWS[: len(ROWS) // 2]) == second
    assert judged() == first


@pytest.mark.slow
def test_a_version_that_failed_is_no_measure_for_later_ones(workspace: Workspace) -> None:
    workspace.params("validate", {"warn": []})
    judged()
    for _ in range(2):
        with pytest.raises(ValueError, match="interactions did not shrink"):
            judged(ROWS[: len(ROWS) // 2])


def test_a_damaged_profile_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text("[")
    assert profile.former(path, "data") is None


histograms = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1)


@given(histograms, histograms)
def test_what_moved_is_a_distance_between_0_and_1(now: dict[str, int], before: dict[str, int]) -> None:
    assert 0 <= profile.moved(now, before) <= 1
    assert profile.moved(now, before) == pytest.approx(profile.moved(before, now))
    assert profile.moved(now, now) == 0
    assert profile.moved({"x": 1}, before) == pytest.approx(1)


@pytest.mark.slow
def test_an_expectation_that_is_named_like_markup_is_text_in_the_page(workspace: Workspace) -> None:
    custom = CUSTOM | {"says": "<img src=x onerror=alert(1)> is small", "kwargs": {"column": "value", "max_value": 0}}
    workspace.params("validate", {"custom": [custom]})
    with pytest.raises(ValueError, match="is small"):
        judged()
    page = Path("data/validate.failed.html").read_text("utf-8")
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt; is small" in page
