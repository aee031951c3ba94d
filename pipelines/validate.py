"""Writes data/validate: what Great Expectations finds in the canonical tables; a failed suite stops the run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import _artifacts as artifacts
from pipelines import _expectations as gx
from pipelines import _tables as tables
from pipelines._expectations import gxe
from pipelines._params import Validate, load
from pipelines._stage import run, say

FAILED_PAGE = artifacts.DATA / "validate.failed.html"
LARGEST_FLOAT32 = 3.4028234663852886e38  # above it lie inf and, in SQL, NaN
MAX_ID_LENGTH = 512  # characters; a longer id is a text in the wrong column

# Timestamps lose their time zone (the session's is UTC): fetching a zoned one into Python needs pytz.
INTERACTIONS = """
    select i.user_id, i.item_id, i.value, i.n_events, cast(i.timestamp as timestamp) as timestamp,
           t.item_id is not null as item_is_known
    from read_parquet('{interactions}') i
    left join (select distinct item_id from read_parquet('{items}')) t on i.item_id = t.item_id
"""
ITEMS = "select item_id, title, trim(text) as text from read_parquet('{items}')"
USERS = """
    select user_id, cast(count(*) as double) / (select count(*) from interactions) as share
    from interactions group by user_id
"""


def main() -> None:
    params = load(Validate)
    with artifacts.stage("validate") as stage:
        paths = {name: stage.input("ingest", f"{name}.parquet") for name in ("interactions", "items")}
        results = examine(paths, suites(params), stage, params.memory_limit)
        report = judge(results, min_expectations=params.min_expectations)
        page = gx.page(results, report["verdict"])
        if not report["success"]:
            FAILED_PAGE.write_text(page, "utf-8")
            raise ValueError(
                f"{report['verdict']}; read {FAILED_PAGE}, then correct the data "
                "or, where it is as it should be, section validate of params.yaml"
            )
        artifacts.write_json(stage.output("report.json"), report)
        stage.output("report.html").write_text(page, "utf-8")
    FAILED_PAGE.unlink(missing_ok=True)
    say("validate", report["verdict"])


def examine(
    paths: dict[str, Path], suites: dict[str, gx.Suite], stage: artifacts.StageRun, memory_limit: str
) -> gx.Results:
    """Results of each suite by table; the columns come first, and nothing else is asked where they are wrong."""
    results: gx.Results = {}
    with gx.duckdb_source(stage, memory_limit) as source:
        for table, query in views(paths).items():
            source.view(table, query)
            results[table] = source.check(table, suites[table])
            if table == "columns" and not results[table].success:
                break
    return results


def views(paths: dict[str, Path]) -> dict[str, str]:
    """The tables that are judged, as queries on the files: nothing is copied."""
    pairs = [
        *column_pairs("interactions", pq.read_schema(paths["interactions"]), tables.INTERACTIONS, more=False),
        *column_pairs("items", pq.read_schema(paths["items"]), tables.ITEMS, more=True),
    ]
    return {
        "columns": " union all ".join(f"select {quote(a)} as found, {quote(b)} as expected" for a, b in pairs),
        "interactions": INTERACTIONS.format(**paths),
        "items": ITEMS.format(**paths),
        "users": USERS,
    }


def column_pairs(table: str, found: pa.Schema, expected: pa.Schema, *, more: bool) -> list[tuple[str, str]]:
    """What each column is and what it shall be; columns beyond the expected ones are fine where there may be `more`."""
    names = expected.names if more else list(dict.fromkeys([*expected.names, *found.names]))

    def words(schema: pa.Schema, name: str) -> str:
        return f"{table}.{name} {schema.field(name).type if name in schema.names else 'absent'}"

    return [(words(found, name), words(expected, name)) for name in names]


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def suites(params: Validate) -> dict[str, gx.Suite]:
    """What is expected of each table. A range alone holds for no rows and for nulls: both are asked for explicitly."""
    n_columns = len(tables.INTERACTIONS) + len(tables.ITEMS)
    return {
        "columns": [
            at_least(n_columns, "columns"),
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="found", column_B="expected", description="every column is there with its type"
            ),
        ],
        "interactions": [
            at_least(params.min_interactions, "interactions"),
            *(present(column) for column in ("user_id", "item_id", "value", "n_events")),
            gxe.ExpectCompoundColumnsToBeUnique(
                column_list=["user_id", "item_id"], description="every pair of user_id and item_id occurs once"
            ),
            *(id_length(column) for column in ("user_id", "item_id")),
            gxe.ExpectColumnValuesToBeBetween(
                column="value",
                min_value=0,
                strict_min=True,
                max_value=LARGEST_FLOAT32,
                description="every value is positive and finite",
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="n_events", min_value=1, description="every n_events is at least 1"
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="timestamp",
                min_value=datetime(1990, 1, 1),
                max_value=datetime(2100, 1, 1),
                description="every timestamp lies between 1990 and 2100",
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="item_is_known", value_set=[True], description="every item_id is one of items"
            ),
            gxe.ExpectColumnUniqueValueCountToBeBetween(
                column="item_id",
                min_value=params.min_items,
                description=f"at least {params.min_items} items are touched",
            ),
        ],
        "items": [
            at_least(params.min_items, "items"),
            *(present(column) for column in ("item_id", "title", "text")),
            gxe.ExpectColumnValuesToBeUnique(column="item_id", description="every item_id occurs once"),
            id_length("item_id"),
            gxe.ExpectColumnValueLengthsToBeBetween(
                column="text",
                min_value=1,
                mostly=1 - params.max_empty_text,
                description=f"at most {params.max_empty_text:.0%} of the texts are empty",
            ),
        ],
        "users": [
            at_least(params.min_users, "users"),
            gxe.ExpectColumnMaxToBeBetween(
                column="share",
                max_value=params.max_user_share,
                description=f"no user holds more than {params.max_user_share:.0%} of the interactions",
            ),
        ],
    }


def at_least(n_rows: int, noun: str) -> gx.Expectation:
    return gxe.ExpectTableRowCountToBeBetween(min_value=n_rows, description=f"there are at least {n_rows} {noun}")


def present(column: str) -> gx.Expectation:
    return gxe.ExpectColumnValuesToNotBeNull(column=column, description=f"every {column} is present")


def id_length(column: str) -> gx.Expectation:
    words = f"every {column} has 1 to {MAX_ID_LENGTH} characters"
    return gxe.ExpectColumnValueLengthsToBeBetween(
        column=column, min_value=1, max_value=MAX_ID_LENGTH, description=words
    )


def judge(results: gx.Results, *, min_expectations: int) -> dict[str, Any]:
    """The report: every expectation, and in words whether all of them hold and are enough."""
    checks = [gx.describe(table, result) for table, suite in results.items() for result in suite.results]
    failed = [check for check in checks if not check["success"]]
    if failed:
        shown = "; ".join(failure(check) for check in failed[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        verdict = f"{len(failed)} of {len(checks)} expectations failed: {shown}{more}"
    elif len(checks) < min_expectations:
        verdict = f"the suite holds {len(checks)} expectations, expected at least {min_expectations}"
    else:
        verdict = f"all {len(checks)} expectations hold"
    return {
        "success": not failed and len(checks) >= min_expectations,
        "verdict": verdict,
        "n_expectations": len(checks),
        "expectations": checks,
    }


def failure(check: dict[str, Any]) -> str:
    """One failed expectation in words, with what was found instead."""
    found = check["observed"]
    if check["error"]:
        words = f"it could not be evaluated: {check['error'][:200]}"
    elif isinstance(found, dict):
        words = f"{found['unexpected']} of {found['rows']} rows do not"
        words += f", such as {', '.join(found['examples'])}" if "examples" in found else ""
    else:
        words = f"found {found}"
    return f"{check['table']}: expected that {check['name']} ({words})"


if __name__ == "__main__":
    run(main, "validate")
