"""report.json: all expectations with their results, and a sentence on whether they hold and are enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.artifacts import quarantine
from pipelines.validate import expectations

SHOWN = 3  # failures in the stage's last line
SHARES = ("loud_user", "profile_head", "profile_values", "profile_script")  # codes with a share as the result
FACTOR = "profile_"  # start of the codes with a result relative to the last good version


def judge(
    results: expectations.Results,
    *,
    min_expectations: int,
    warn: list[str],
    failing: Sequence[dict[str, str]] = (),
    values: bool = True,
) -> dict[str, Any]:
    """Return the report: all expectations, and a sentence on whether they hold and are enough.

    warn: codes of expectations that only warn if they fail.
    failing: the interactions that were left out; values: with examples of rows, which may name users.
    """
    checks = [expectations.describe(table, result) for table, suite in results.items() for result in suite.results]
    for check in checks:
        if not values and is_of_rows(check) and check["table"] != "columns":
            check["observed"].pop("examples", None)
        check["found"] = found(check)
        check["severity"] = "warn" if check["code"] in warn and not check["error"] else "stop"
    missed = [check for check in checks if failed(check)]
    stopping = [check for check in missed if check["severity"] == "stop"]
    if stopping:
        verdict = f"{len(stopping)} of {len(checks)} expectations failed: {listed(stopping)}"
    elif len(checks) < min_expectations:
        verdict = f"the suite holds {len(checks)} expectations, expected at least {min_expectations}"
    elif missed:
        verdict = f"{len(checks) - len(missed)} of {len(checks)} expectations hold; warning: {listed(missed)}"
    else:
        verdict = f"all {len(checks)} expectations hold"
    if failing:
        verdict += f"; {quarantine.words(failing)}"
    return {
        "success": not stopping and len(checks) >= min_expectations,
        "verdict": verdict,
        "n_expectations": len(checks),
        "n_warnings": len(missed) - len(stopping),
        "n_quarantined": quarantine.n_interactions(failing),
        "expectations": checks,
    }


def failed(check: dict[str, Any]) -> bool:
    return not check["success"]


def is_of_rows(check: dict[str, Any]) -> bool:
    """Return whether an expectation counts rows, rather than judges a table as a whole."""
    return isinstance(check["observed"], dict) and "unexpected" in check["observed"]


def is_share(check: dict[str, Any]) -> bool:
    """Return whether an expectation bounds the share of such rows, rather than expecting all to be different."""
    return "mostly" in check["kwargs"]


def listed(checks: list[dict[str, Any]]) -> str:
    """Return the first failures as text, and the number of the others."""
    more = f"; and {len(checks) - SHOWN} more" if len(checks) > SHOWN else ""
    return "; ".join(failure(check) for check in checks[:SHOWN]) + more


def failure(check: dict[str, Any]) -> str:
    """Return a failed expectation as a sentence: the finding and the remedy."""
    such_as = f", such as {', '.join(examples(check))}" if examples(check) else ""
    words = f"{found(check)}{such_as}"
    return f"{check['table']}: expected that {check['name']} ({words}): {check['remedy']} [{check['code']}]"


def found(check: dict[str, Any]) -> str:
    """Return the finding without values of single rows."""
    observed = check["observed"]
    if check["error"]:
        return f"it could not be evaluated: {check['error'][:200]}"
    if is_of_rows(check):
        n, rows = observed["unexpected"] or 0, observed["rows"]  # null for a table without rows
        return f"{n:,} of {rows:,} rows" + (f", {n / rows:.1%}" if is_share(check) and rows else " do not")
    if isinstance(observed, bool) or not isinstance(observed, int | float):
        return f"found {observed}"
    if check["code"] in SHARES:
        return f"found {observed:.2%}"
    times = " times the last good version" if check["code"].startswith(FACTOR) else ""
    return (f"found {observed:.4g}" if isinstance(observed, float) else f"found {observed:,}") + times


def examples(check: dict[str, Any]) -> list[str]:
    """Return some of the unexpected values."""
    return list(check["observed"]["examples"]) if is_of_rows(check) and "examples" in check["observed"] else []
