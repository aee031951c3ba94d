"""Writes data/validate: what Great Expectations finds in the canonical tables; a failed suite stops the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts import outputs, tables
from pipelines.privacy import modes
from pipelines.runtime.console import say
from pipelines.runtime.engine import Tables
from pipelines.settings.document import Engine, Validate, load
from pipelines.validate import expectations, suites
from pipelines.validate import profile as validate_profile

FAILED_PAGE = outputs.DATA / "validate.failed.html"
SHOWN = 3  # failures in the line that ends the stage


def main() -> None:
    params, engine = load(Validate), load(Engine)
    with outputs.stage("validate") as stage:
        paths = {name: stage.input("ingest", f"{name}.parquet") for name in ("interactions", "items", "users")}
        known = validate_profile.path_of(pq.read_schema(paths["items"]).names)
        data = stage.inputs[paths["interactions"].as_posix()]
        with expectations.source(stage, params.memory_limit, engine) as source:
            results, profile = examine(source, paths, params, validate_profile.former(known, data))
        report = judge(results, min_expectations=params.min_expectations, warn=params.warn)
        page = expectations.page(
            results, report["verdict"], [failure(check) for check in report["expectations"] if failed(check)]
        )
        if not report["success"]:
            modes.file(FAILED_PAGE).write_text(page, "utf-8")
            raise ValueError(
                f"{report['verdict']}; read {FAILED_PAGE}, then correct the data "
                "or, where it is as it should be, section validate of params.yaml"
            )
        outputs.write_json(stage.output("report.json"), report)
        outputs.write_json(stage.output("profile.json"), profile)
        stage.output("report.html").write_text(page, "utf-8")
    validate_profile.remember(known, data, profile)
    FAILED_PAGE.unlink(missing_ok=True)
    say("validate", report["verdict"])


def examine(
    source: expectations.Source, paths: dict[str, Path], params: Validate, former: dict[str, Any] | None
) -> tuple[expectations.Results, dict[str, Any]]:
    """Results of each suite by table, and the profile; nothing else is asked where the columns are wrong.

    former: the profile to set this one beside, if any.
    """
    wanted, results = suites.suites(params), expectations.Results()
    profile_suite = suites.against_profile(params.profile)
    suites.check_codes([*(e for suite in wanted.values() for e in suite), *profile_suite], params.warn)
    for table, query in views(source.engine, paths).items():
        source.engine.view(table, query)
        results[table] = source.check(table, wanted[table])
        if table == "columns" and not results[table].success:
            return results, {}
    profile = validate_profile.of(source.engine)
    if former is not None and profile["interactions"]:
        source.engine.view("profile", validate_profile.query(validate_profile.beside(profile, former)))
        results["profile"] = source.check("profile", profile_suite)
    return results, profile


def views(engine: Tables, paths: dict[str, Path]) -> dict[str, str]:
    """The tables that are judged, as queries on the files: nothing is copied."""
    pairs = [
        *column_pairs("interactions", pq.read_schema(paths["interactions"]), tables.INTERACTIONS, more=False),
        *column_pairs("items", pq.read_schema(paths["items"]), tables.ITEMS, more=True),
        *column_pairs("users", pq.read_schema(paths["users"]), tables.USERS, more=True),
    ]
    files = {name: engine.parquet(path) for name, path in paths.items()}
    after = engine.after(paths["interactions"], "user_id", "item_id")
    return {
        "columns": " union all ".join(f"select {quote(a)} as found, {quote(b)} as expected" for a, b in pairs),
        "interactions": suites.INTERACTIONS.format(**files, interactions_after=after),
        "items": suites.ITEMS.format(**files),
        "users": suites.USERS,
    }


def column_pairs(table: str, found: pa.Schema, expected: pa.Schema, *, more: bool) -> list[tuple[str, str]]:
    """What each column is and what it shall be; columns beyond the expected ones are fine where there may be `more`."""
    names = expected.names if more else list(dict.fromkeys([*expected.names, *found.names]))

    def words(schema: pa.Schema, name: str) -> str:
        return f"{table}.{name} {schema.field(name).type if name in schema.names else 'absent'}"

    return [(words(found, name), words(expected, name)) for name in names]


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def judge(results: expectations.Results, *, min_expectations: int, warn: list[str]) -> dict[str, Any]:
    """The report: every expectation, and in words whether all of them hold and are enough.

    warn: codes of expectations whose failure is said and does not stop the run.
    """
    checks = [expectations.describe(table, result) for table, suite in results.items() for result in suite.results]
    for check in checks:
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
    return {
        "success": not stopping and len(checks) >= min_expectations,
        "verdict": verdict,
        "n_expectations": len(checks),
        "n_warnings": len(missed) - len(stopping),
        "expectations": checks,
    }


def failed(check: dict[str, Any]) -> bool:
    return not check["success"]


def listed(checks: list[dict[str, Any]]) -> str:
    """The first failures in words, and how many follow."""
    more = f"; and {len(checks) - SHOWN} more" if len(checks) > SHOWN else ""
    return "; ".join(failure(check) for check in checks[:SHOWN]) + more


def failure(check: dict[str, Any]) -> str:
    """One failed expectation in words: what was found instead, and what to do."""
    found = check["observed"]
    if check["error"]:
        words = f"it could not be evaluated: {check['error'][:200]}"
    elif isinstance(found, dict):
        words = f"{found['unexpected']} of {found['rows']} rows do not"
        words += f", such as {', '.join(found['examples'])}" if "examples" in found else ""
    else:
        words = f"found {found:.4g}" if isinstance(found, float) else f"found {found}"
    return f"{check['table']}: expected that {check['name']} ({words}): {check['remedy']} [{check['code']}]"
