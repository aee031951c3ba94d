"""report.html: what passed, warned and failed in words, and a table of the expectations of each input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.pages import templates
from pipelines.validate import report

FOLDER = Path(__file__).parent
TABLES = {
    "columns": "Columns of all tables",
    "interactions": "Interactions",
    "items": "Items",
    "users": "Users",
    "profile": "Compared with the last good version",
}
SIZES = {"interactions": "few_interactions", "items": "few_items", "users": "few_users"}  # code with the number of rows
TITLES = {"pass": "PASSED", "warning": "PASSED WITH WARNINGS", "fail": "FAILED"}
BADGES = {"fail": "failed", "warning": "warning", "pass": "passed"}  # in the order of a table's rows
LONGEST = 120  # characters of an example
SHORT = 12  # characters of a digest
Check = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """Expectation in a table."""

    id: str
    outcome: str  # a key of `BADGES`
    name: str
    found: str
    examples: list[str]
    remedy: str
    code: str


def page(judged: Mapping[str, Any], inputs: Mapping[str, str], left_out: str | None) -> str:
    """Return the page. judged: report.json; inputs: sha256 by path; left_out: sentence on quarantined rows."""
    tables = dict(sections(judged["expectations"]))
    missed = [(table, row) for table, rows in tables.items() for row in rows if row.outcome != "pass"]
    outcome = "fail" if not judged["success"] else "warning" if missed else "pass"
    contents = {"todo": "What to do"} if missed else {}
    return templates.environment(FOLDER).get_template("page.html").render(
        title=f"{TITLES[outcome]} – data validation",
        outcome=outcome,
        verdict=TITLES[outcome],
        words=list(words(judged)),
        left_out=left_out,
        facts=facts(judged["expectations"]),
        contents=contents | {table: TABLES[table] for table in tables} | {"inputs": "Files that were checked"},
        missed=by_remedy(sorted(missed, key=lambda each: list(BADGES).index(each[1].outcome))),
        tables=tables,
        badges=BADGES,
        skipped=[TABLES[table].lower() for table in SIZES if table not in tables],
        is_first="profile" not in tables and judged["success"],
        inputs={path: digest[:SHORT] for path, digest in inputs.items()},
    )  # fmt: skip


def sections(checks: Sequence[Check]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of each table, failed ones first."""
    rows: dict[str, list[Row]] = {}
    for number, check in enumerate(checks, start=1):
        rows.setdefault(check["table"], []).append(row(number, check))
    for table, found in rows.items():
        yield table, sorted(found, key=lambda each: list(BADGES).index(each.outcome))


def by_remedy(missed: Sequence[tuple[str, Row]]) -> dict[str, list[tuple[str, Row]]]:
    """Return tables and rows by what to do about them."""
    found: dict[str, list[tuple[str, Row]]] = {}
    for table, each in missed:
        found.setdefault(each.remedy, []).append((table, each))
    return found


def row(number: int, check: Check) -> Row:
    outcome = "pass" if check["success"] else "warning" if check["severity"] == "warn" else "fail"
    examples = [text if len(text) <= LONGEST else f"{text[:LONGEST]}…" for text in report.examples(check)]
    return Row(f"e{number}", outcome, check["name"], finding(check), examples, check["remedy"], check["code"])


def finding(check: Check) -> str:
    """Return the finding in a table's cell."""
    observed, noun = check["observed"], "columns" if check["table"] == "columns" else "rows"
    if check["error"]:
        return str(check["found"])
    if report.is_of_rows(check) and not report.is_share(check) and not observed["unexpected"]:
        return f"holds for all {observed['rows']:,} {noun}" if observed["rows"] else f"no {noun}"
    return str(check["found"]).removeprefix("found ")


def words(judged: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences on the numbers of expectations that hold, warn and fail, and on what follows."""
    n, warned = len(judged["expectations"]), judged["n_warnings"]
    missed = sum(map(report.failed, judged["expectations"]))
    failed = missed - warned
    counts = [f"{n - missed:,} of {n:,} expectations hold"]
    counts += [f"{failed:,} failed"] if failed else []
    counts += [f"{warned:,} failed with a warning"] if warned else []
    yield f"{', '.join(counts)}."
    if judged["success"] and warned:
        yield "Warnings stop nothing: the run goes on with these data."
    if not judged["success"]:
        yield "The run stops here: nothing is trained on these data."
        if not failed:
            yield f"Reason: {judged['verdict']}."


def facts(checks: Sequence[Check]) -> dict[str, str]:
    """Return the numbers of rows that the checks have counted."""
    counted = {check["code"]: check["observed"] for check in checks}
    return {table: f"{counted[code]:,}" for table, code in SIZES.items() if isinstance(counted.get(code), int)}
