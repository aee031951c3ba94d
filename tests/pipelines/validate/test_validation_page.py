"""The validation report: counts in words, what to do, and a table for each input with failed expectations first."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pipelines.validate import page, report

INPUTS = {"data/ingest/items.parquet": "a" * 64}


def check(table: str, code: str, observed: Any, *, success: bool = True, **more: Any) -> dict[str, Any]:
    found = {"table": table, "code": code, "name": f"{code} is right", "remedy": f"mend {code}", "kwargs": {}}
    found |= {"observed": observed, "success": success, "error": None, "severity": "stop"} | more
    return found | {"found": report.found(found)}


def rows(unexpected: int, *examples: str) -> dict[str, Any]:
    return {"unexpected": unexpected, "rows": 3000, **({"examples": list(examples)} if examples else {})}


COUNTED = [check("interactions", "few_interactions", 110129), check("items", "few_items", 3000)]
FAILED = check("items", "repeated_item", rows(2, "i1", "<b>i2</b>"), success=False)
WARNED = check("items", "same_text", rows(1500, "x"), success=False, severity="warn", kwargs={"mostly": 0.5})


def made(*checks: dict[str, Any], left_out: str | None = None) -> str:
    warnings = sum(not each["success"] and each["severity"] == "warn" for each in checks)
    success = all(each["success"] or each["severity"] == "warn" for each in checks)
    judged = {"expectations": list(checks), "n_warnings": warnings, "success": success, "verdict": "the verdict"}
    return page.page(judged, INPUTS, left_out)


def test_a_pass_names_the_number_of_rows_and_no_share_of_nulls() -> None:
    text = made(*COUNTED, check("items", "absent_title", rows(0)))
    assert "<h1>PASSED</h1>" in text
    assert "3 of 3 expectations hold." in text
    assert "holds for all 3,000 rows" in text
    assert "null" not in text
    assert "What to do" not in text
    assert "<dt>interactions</dt><dd>110,129</dd>" in text


def test_failed_expectations_come_first_then_warnings_each_with_examples_as_text() -> None:
    text = made(*COUNTED, WARNED, FAILED)
    assert "<h1>FAILED</h1>" in text
    assert "2 of 4 expectations hold, 1 failed, 1 failed with a warning." in text
    assert "The run stops here" in text
    table = text[text.index('<h2 id="items">') :]
    places = [table.index(f"{code} is right") for code in ("repeated_item", "same_text", "few_items")]
    assert places == sorted(places)
    assert "2 of 3,000 rows do not<small>such as i1, &lt;b&gt;i2&lt;/b&gt;</small>" in text
    assert "1,500 of 3,000 rows, 50.0%" in text
    assert text.index("mend repeated_item") < text.index("mend same_text") < text.index('<h2 id="items">')


def test_warnings_stop_nothing_and_equal_remedies_are_given_once() -> None:
    other = WARNED | {"code": "untouched_items", "name": "untouched_items is right"}
    text = made(*COUNTED, WARNED, other)
    assert "<h1>PASSED WITH WARNINGS</h1>" in text
    assert "the run goes on" in text
    assert text.count("mend same_text") == 1


def test_links_of_the_page_lead_to_places_on_it() -> None:
    text = made(*COUNTED, FAILED)
    links = re.findall(r'href="#([^"]*)"', text)
    assert {"todo", "interactions", "items", "inputs"} < set(links)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert set(links) <= set(ids)
    assert len(ids) == len(set(ids))


def test_a_long_value_is_cut() -> None:
    text = made(check("items", "length_item_id", rows(1, "x" * 5000), success=False))
    assert "x" * page.LONGEST + "…" in text
    assert "x" * (page.LONGEST + 1) not in text


def test_tables_that_wrong_columns_keep_from_being_checked_are_named() -> None:
    text = made(check("columns", "types", {"unexpected": 1, "rows": 9}, success=False))
    assert "Not checked, because columns are wrong: interactions, items, users." in text


def test_a_suite_that_is_too_short_fails_with_its_reason() -> None:
    judged = {"expectations": COUNTED, "n_warnings": 0, "success": False, "verdict": "the suite holds 2 expectations"}
    text = page.page(judged, INPUTS, None)
    assert "<h1>FAILED</h1>" in text
    assert "Reason: the suite holds 2 expectations." in text


def test_interactions_that_were_left_out_are_in_the_head() -> None:
    assert "<p>3 interactions left out.</p>" in made(*COUNTED, left_out="3 interactions left out")


@pytest.mark.parametrize(
    ("code", "observed", "words"),
    [
        ("loud_user", 0.0123, "1.23%"),
        ("profile_users", 0.5, "0.5 times the last good version"),
        ("few_items", 3000, "3,000"),
        ("stars", 0.123456, "0.1235"),
        ("stars", None, "None"),
        ("stars", rows(0), "holds for all 3,000 rows"),
        ("stars", {"unexpected": None, "rows": 0}, "no rows"),
    ],
)
def test_a_finding_is_in_the_unit_of_its_expectation(code: str, observed: Any, words: str) -> None:
    assert page.finding(check("users", code, observed)) == words


def test_an_expectation_that_raised_tells_its_error() -> None:
    broken = check("items", "x", None, success=False, error="column absent does not exist")
    assert "it could not be evaluated: column absent does not exist" in made(broken)
