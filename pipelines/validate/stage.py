"""Write data/validate: the results of Great Expectations on the canonical tables; a failed suite stops the run."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artifacts import outputs, quarantine, tables
from pipelines.privacy import modes
from pipelines.runtime.console import RUN, say
from pipelines.runtime.engine import Tables
from pipelines.runtime.sql import literal
from pipelines.settings.document import load
from pipelines.settings.engine import Engine
from pipelines.settings.validate import Validate
from pipelines.validate import expectations, report, suites
from pipelines.validate import page as report_page
from pipelines.validate import profile as validate_profile

FAILED_PAGE = outputs.DATA / "validate.failed.html"


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
        judge = partial(
            report.judge, results, min_expectations=params.min_expectations, warn=params.warn, failing=failed_rows
        )
        found, in_airflow = judge(), RUN in os.environ
        if not found["success"] and in_airflow:  # Git keeps the message and the page of a run, and must name no user
            found = judge(values=False)
        page = report_page.page(found, stage.inputs, quarantine.words(failed_rows) if failed_rows else None)
        if not found["success"]:
            modes.file(FAILED_PAGE).write_text(page, "utf-8")
            where = 'the tab "Gate report" of this run' if in_airflow else FAILED_PAGE
            raise ValueError(
                f"{found['verdict']}; read {where}, then correct the data "
                "or, if they are as intended, section validate of params.yaml"
            )
        outputs.write_json(stage.output("report.json"), found)
        outputs.write_json(stage.output("profile.json"), profile)
        stage.output("report.html").write_text(page, "utf-8")
    validate_profile.remember(known, data, profile)
    FAILED_PAGE.unlink(missing_ok=True)
    say("validate", found["verdict"])


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
        if check["code"] in own and report.failed(check) and not check["error"] and report.is_of_rows(check):
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
