"""Write data/validate: the results of Great Expectations on the canonical tables; a failed suite stops the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts import outputs, quarantine, tables
from pipelines.privacy import modes
from pipelines.runtime.console import say
from pipelines.runtime.engine import Tables
from pipelines.runtime.sql import literal
from pipelines.settings.document import load
from pipelines.settings.engine import Engine
from pipelines.settings.validate import Validate
from pipelines.validate import expectations, suites
from pipelines.validate import profile as validate_profile

FAILED_PAGE = outputs.DATA / "validate.failed.html"
SHOWN = 3  # failures in the stage's last line


def main() -> None:
    params, engine = load(Validate), load(Engine)
    with outputs.stage("validate") as stage:
        paths = {name: stage.input("ingest", f"{name}.parquet") for name in ("interactions", "items", "users")}
        known = validate_profile.path_of(pq.read_schema(paths["items"]).names)
        data = stage.inputs[paths["interactions"].as_posix()]
        with expectations.source(stage, params.memory_limit, engine) as source:
            results = examine(source, views(source.engine, paths), params)
            failed_rows = failing(source, results, params)
            left_out = stage.output(quarantine.NAME)
            quarantine.write(failed_rows, left_out)
            if failed_rows:
                results = examine(source, views(source.engine, paths, left_out), params)
            profile = beside_profile(source, results, params, validate_profile.former(known, data))
        report = judge(results, min_expectations=params.min_expectations, warn=params.warn, failing=failed_rows)
        page = expectations.page(
            results, report["verdict"], [failure(check) for check in report["expectations"] if failed(check)]
        )
        if not report["success"]:
            modes.file(FAILED_PAGE).write_text(page, "utf-8")
            raise ValueError(
                f"{report['verdict']}; read {FAILED_PAGE}, then correct the data "
                "or, if they are as intended, section validate of params.yaml"
            )
        outputs.write_json(stage.output("report.json"), report)
        outputs.write_json(stage.output("profile.json"), profile)
        stage.output("report.html").write_text(page, "utf-8")
    validate_profile.remember(known, data, profile)
    FAILED_PAGE.unlink(missing_ok=True)
    say("validate", report["verdict"])


def examine(source: expectations.Source, tables_of: dict[str, str], params: Validate) -> expectations.Results:
    """Run all suites and return the results by table; stop early if the columns are wrong.

    tables_of: a query for each table.
    """
    wanted, results = suites.suites(params), expectations.Results()
    every = [e for suite in (*wanted.values(), suites.against_profile(params.profile)) for e in suite]
    suites.check_codes(every, params.warn)
    for table, query in tables_of.items():
        source.engine.view(table, query)
        results[table] = source.check(table, wanted[table])
        if table == "columns" and not results[table].success:
            break
    return results


def beside_profile(
    source: expectations.Source, results: expectations.Results, params: Validate, former: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the profile of the tables, and add its comparison with a former one, if any, to the results."""
    if not results["columns"].success:
        return {}
    profile = validate_profile.of(source.engine)
    if former is not None and profile["interactions"]:
        source.engine.view("profile", validate_profile.query(validate_profile.beside(profile, former)))
        results["profile"] = source.check("profile", suites.against_profile(params.profile))
    return profile


def failing(source: expectations.Source, results: expectations.Results, params: Validate) -> list[dict[str, str]]:
    """Return the interactions that fail expectations of params.yaml, with the reasons.

    Empty if they exceed the allowed share: then none is left out, and the run stops.
    """
    own = {suites.code_of(e): e for e in suites.of_interactions(params) if suites.code_of(e) not in params.warn}
    shares = {}
    for result in results["interactions"].results if "interactions" in results else []:
        check = expectations.describe("interactions", result)
        if check["code"] in own and failed(check) and not check["error"] and is_of_rows(check):
            shares[check["code"]] = check["observed"]["unexpected"] / check["observed"]["rows"]
    if not shares or max(shares.values()) > params.max_quarantined:
        return []
    rows = [
        {"user_id": user_id, "item_id": item_id, "code": code, "reason": str(own[code].description)}
        for code in shares
        for user_id, item_id in source.unexpected("interactions", own[code], ("user_id", "item_id"))
    ]
    ((n,),) = source.engine.rows("select count(*) from interactions")
    return rows if quarantine.n_interactions(rows) <= params.max_quarantined * n else []


def views(engine: Tables, paths: dict[str, Path], left_out: Path | None = None) -> dict[str, str]:
    """Return queries of the judged tables on the files, without quarantined interactions; no data is copied."""
    pairs = [
        *column_pairs("interactions", pq.read_schema(paths["interactions"]), tables.INTERACTIONS, more=False),
        *column_pairs("items", pq.read_schema(paths["items"]), tables.ITEMS, more=True),
        *column_pairs("users", pq.read_schema(paths["users"]), tables.USERS, more=True),
    ]
    files = {name: engine.parquet(path) for name, path in paths.items()}
    after = engine.after(paths["interactions"], "user_id", "item_id")
    interactions = suites.INTERACTIONS.format(**files, interactions_after=after)
    if left_out is not None:
        interactions = quarantine.without(interactions, left_out, engine.parquet(left_out))
    return {
        "columns": " union all ".join(f"select {literal(a)} as found, {literal(b)} as expected" for a, b in pairs),
        "interactions": interactions,
        "items": suites.ITEMS.format(**files),
        "users": suites.USERS,
    }


def column_pairs(table: str, found: pa.Schema, expected: pa.Schema, *, more: bool) -> list[tuple[str, str]]:
    """Return pairs of found and expected columns; `more` allows further columns."""
    names = expected.names if more else list(dict.fromkeys([*expected.names, *found.names]))

    def words(schema: pa.Schema, name: str) -> str:
        return f"{table}.{name} {schema.field(name).type if name in schema.names else 'absent'}"

    return [(words(found, name), words(expected, name)) for name in names]


def judge(
    results: expectations.Results, *, min_expectations: int, warn: list[str], failing: Sequence[dict[str, str]] = ()
) -> dict[str, Any]:
    """Return the report: all expectations, and a sentence on whether they hold and are enough.

    warn: codes of expectations that only warn if they fail.
    failing: the interactions that were left out.
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


def listed(checks: list[dict[str, Any]]) -> str:
    """Return the first failures as text, and the number of the others."""
    more = f"; and {len(checks) - SHOWN} more" if len(checks) > SHOWN else ""
    return "; ".join(failure(check) for check in checks[:SHOWN]) + more


def failure(check: dict[str, Any]) -> str:
    """Return a failed expectation as a sentence: the finding and the remedy."""
    found = check["observed"]
    if check["error"]:
        words = f"it could not be evaluated: {check['error'][:200]}"
    elif is_of_rows(check):
        words = f"{found['unexpected']} of {found['rows']} rows do not"
        words += f", such as {', '.join(found['examples'])}" if "examples" in found else ""
    else:
        words = f"found {found:.4g}" if isinstance(found, float) else f"found {found}"
    return f"{check['table']}: expected that {check['name']} ({words}): {check['remedy']} [{check['code']}]"
