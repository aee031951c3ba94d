"""Parts of the gate's reports: counts and reasons of rules, best figures, the data, what changed, the head."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.gate.report import best, changes, data, heading, metrics, outcomes, slices
from pipelines.gate.report.attempts import Section
from pipelines.gate.report.content import Content
from tests.pipelines.holdouts import INGESTED, VALIDATED

NO_CHAMPION = "there is no champion yet"


def rule(name: str, decision: str, reason: str = "") -> dict[str, Any]:
    return {"name": name, "decision": decision, "reason": reason}


RULES = [
    rule("a", "pass"), rule("b", "not_applicable", NO_CHAMPION), rule("c", "fail", "too low"),
    rule("d", "not_applicable", NO_CHAMPION), rule("e", "inconclusive", "unfair"), rule("f", "inconclusive", "unfair"),
]  # fmt: skip


def verdict(reason: str, **changed: Any) -> dict[str, Any]:
    champion = {"version": None, "model_sha256": None}
    found = {"verdict": "REJECT", "reason": reason, "rules": RULES, "champion": champion, "unfair_champion": None}
    more = {"n_users": 1040, "confidence": 0.95, "correction": "holm", "digests": {"model": "f" * 64}}
    return found | more | changed


def content(at: str | None) -> Content:
    found = data.read(INGESTED, VALIDATED, {"url": None, "path": "data/raw"})
    return Content(verdict("x"), at, {}, {}, found, {}, [], None, Section([], []))


def test_only_rules_that_apply_are_counted_and_the_others_are_named_with_their_reason() -> None:
    assert outcomes.count(RULES) == "1 of 4 pass, 2 do not apply"
    assert outcomes.count(RULES[:2]) == "1 of 1 pass, 1 does not apply"
    assert outcomes.count(RULES[:1]) == "1 of 1 pass"
    assert outcomes.left_out(RULES) == {NO_CHAMPION: ["b", "d"]}


def test_a_reason_is_given_once_and_later_rules_name_the_first() -> None:
    assert outcomes.reasons(outcomes.applicable(RULES)) == ["", "too low", "unfair", "for the same reason as «e»"]
    lines = outcomes.markdown(RULES)
    assert [line for line in lines if NO_CHAMPION in line] == [f"- not applicable, {NO_CHAMPION}: «b», «d»"]
    assert sum("unfair" in line for line in lines) == 1


def test_the_head_gives_no_reason_of_a_single_rule() -> None:
    reason = "If that is meant, set gate.accept_shrink. 1 of 4 rules violated. «c»: too low. «e», «f»: unfair."
    assert outcomes.headline(verdict(reason)) == "If that is meant, set gate.accept_shrink. 1 of 4 rules violated."


def test_the_head_links_to_the_rules_that_do_not_pass_by_their_place_in_the_table() -> None:
    named = {"Violated": [(2, "c")], "Neither confirmed nor ruled out": [(3, "e"), (4, "f")]}
    assert outcomes.open_rules(RULES) == named
    assert outcomes.open_rules(RULES[:3]) == {"Rules": [(2, "c")]}
    assert outcomes.open_rules(RULES[:2]) == {}


@pytest.mark.parametrize(("unfair", "told"), [("unfair", None), ("another reason", "another reason"), (None, None)])
def test_why_the_champion_was_left_out_is_in_the_head_only_if_no_rule_tells_it(
    unfair: str | None, told: str | None
) -> None:
    assert outcomes.unfair(verdict("x", unfair_champion=unfair)) == told


@pytest.mark.parametrize(
    ("values", "higher", "marked"),
    [
        ([0.1, 0.3, None], True, [1]),
        ([0.1, 0.3, None], False, [0]),
        ([0.30001, 0.3, 0.1], True, [0, 1]),  # equal as shown
        ([0.3, 0.3, 0.3], True, []),
        ([0.3, None], True, []),
        ([], True, []),
    ],
)
def test_the_best_figure_of_a_row_is_marked_if_figures_differ(
    values: list[float | None], higher: bool, marked: list[int]
) -> None:
    found = best.marks(values, higher_is_better=higher)
    assert [place for place, is_best in enumerate(found) if is_best] == marked
    assert len(found) == len(values)


def test_the_lowest_figure_is_the_best_of_a_metric_that_is_better_when_lower() -> None:
    models = {"candidate": {"ndcg@10": 0.4, "gini@10": 0.5}, "random": {"ndcg@10": 0.1, "gini@10": 0.2}}
    markdown = metrics.markdown(models)
    assert "| ndcg@10 | **0.4000** | 0.1000 |  |" in markdown
    assert "| gini@10 | 0.5000 | **0.2000** | lower is better |" in markdown
    rows = {name: cells for _, group in metrics.for_page(models)["groups"] for name, _, cells in group}
    assert rows["gini"] == [("0.5000", False), ("0.2000", True)]


def test_a_small_slice_has_no_best_figure_and_a_gain_is_none() -> None:
    values: dict[str, float | None] = {"candidate": 0.3, "champion": 0.2}
    for small in (False, True):
        found = slices.marked(slices.Slice("country DE", 9, 20, small, values), "ndcg@10")
        assert found == [("0.3000", not small), ("0.2000", False), ("+0.1000", False)]


def test_the_data_are_named_with_their_rows_and_warnings_without_values_of_rows() -> None:
    check = VALIDATED["expectations"][0] | {"observed": {"unexpected": 59, "rows": 60, "examples": ["u000"]}}
    found = data.read(INGESTED, VALIDATED | {"expectations": [check]}, {"url": None, "path": "data/raw"})
    assert found.source == "table, from data/raw: 5,280 interactions"
    assert found.inputs == [["interactions", "5,300", "5,280", "20", "unknown item 15, empty item id 5"]]
    assert "26 of 27 expectations hold, 1 failed with a warning." in found.checks
    assert "3 interactions fail" in found.checks
    text = "\n".join(data.markdown(found))
    assert "items: at most 50% of the texts repeat another's words; 59 of 60 rows, 98.3%; add columns" in text
    assert "u000" not in text


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("demo", {"url": None, "path": "data/raw"}, "demo catalogue, made by Longtail"),
        ("movielens", {"url": "https://x.test/a.zip", "path": "data/raw"}, "movielens, from https://x.test/a.zip"),
    ],
)
def test_a_source_is_named_with_its_place(name: str, settings: dict[str, Any], named: str) -> None:
    assert data.source(name, settings) == named


def test_the_model_is_among_what_changed() -> None:
    known = verdict("x", champion={"version": "v1.0.0", "model_sha256": "a" * 64})
    found = changes.lines({"data": [], "code": ["a.py", "b.py"]}, known)
    assert found == {"model": ["aaaaaaaaaaaa → ffffffffffff"], "data": [], "code": ["a.py, b.py"]}
    same = verdict("x", champion={"version": "v1.0.0", "model_sha256": "f" * 64})
    assert changes.lines({}, same) == {"model": []}
    assert f"- {changes.FIRST}" in changes.markdown(None, known)


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ("2026-03-01T12:30:59+00:00", "2026-03-01 12:30 UTC"),
        ("2026-03-01T00:30:00+01:00", "2026-02-28 23:30 UTC"),
        ("yesterday", "at an unknown time"),
        (None, "at an unknown time, outside a Git checkout"),
    ],
)
def test_the_time_of_a_report_is_that_of_the_first_judgement(at: str | None, told: str) -> None:
    assert heading.judged_at(content(at)) == told


def test_the_head_names_candidate_champion_data_and_rules() -> None:
    facts = heading.facts(content(None))
    assert facts["candidate"] == "model ffffffffffff"
    assert facts["champion"] == "none yet"
    assert facts["data"].startswith("table, from data/raw")
    assert facts["rules"] == "1 of 4 pass, 2 do not apply"
