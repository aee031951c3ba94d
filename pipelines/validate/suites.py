"""Suites of expectations for the canonical tables, each with a code, a severity and a remedy.

A range alone passes without rows and with nulls, so both are checked explicitly.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipelines.artifacts import tables
from pipelines.settings.validate import Custom, Tolerances, Validate
from pipelines.validate import expectations
from pipelines.validate.expectations import gxe

LARGEST_FLOAT32 = 3.4028234663852886e38  # inf and, in SQL, NaN are above it
MAX_ID_LENGTH = 512  # characters; a longer id is a text in the wrong column
MAX_TEXT_LENGTH = 1_000_000  # characters; a longer text is a file in the wrong column
ANEW = "run `dvc repro --force ingest`: the file was not written by ingest"
SOURCE = "check the source: data are missing, or ingest.table lists the wrong files"

# The SQL below is common to DuckDB and Spark. Timestamps lose their time zone (the session's is UTC): fetching a zoned
# one into Python needs pytz. Some columns are null in good rows and show the offending value in bad ones. In a sorted
# table a repeated pair follows itself, so comparing neighbours checks order and uniqueness; in DuckDB it costs a third
# of counting pairs.
INTERACTIONS = """
    select i.user_id, i.item_id, i.value, i.n_events, cast(i.timestamp as timestamp) as timestamp,
           case when t.item_id is null then i.item_id end as unknown_item,
           case when i.user_id < i.user_id_before or i.user_id = i.user_id_before and i.item_id <= i.item_id_before
             then concat(i.user_id, ' with ', coalesce(i.item_id, '')) end as repeated_pair,
           case when i.timestamp > now() + interval 1 day
             then cast(cast(i.timestamp as timestamp) as string) end as future
    from {interactions_after} i
    left join (select distinct item_id from {items}) t on i.item_id = t.item_id
"""
ITEMS = """
    select i.item_id, i.title, trim(i.text) as text, t.item_id is not null as is_touched,
           trim(i.text) = '' or row_number() over (partition by words_of(i.text) order by i.item_id) = 1 as is_original
    from {items} i
    left join (select distinct item_id from {interactions}) t on i.item_id = t.item_id
"""
USERS = """
    select user_id, cast(count(*) as double) / (select count(*) from interactions) as share
    from interactions group by user_id
"""


def suites(params: Validate) -> dict[str, expectations.Suite]:
    """Return the suite of each table."""
    found = {"columns": columns(), "interactions": interactions(params), "items": items(params), "users": users(params)}
    for custom in params.custom:
        found[custom.table].append(of_custom(custom))
    return found


def of_interactions(params: Validate) -> expectations.Suite:
    """Return the expectations of interactions in params.yaml."""
    return [of_custom(custom) for custom in params.custom if custom.table == "interactions"]


def code_of(expectation: expectations.Expectation) -> str:
    code: str = (expectation.meta or {})["code"]
    return code


def expect(
    code: str, kind: type[expectations.Expectation], description: str, remedy: str, **kwargs: Any
) -> expectations.Expectation:
    return kind(description=description, meta={"code": code, "remedy": remedy}, **kwargs)


def columns() -> expectations.Suite:
    return [
        at_least("columns", sum(map(len, (tables.INTERACTIONS, tables.ITEMS, tables.USERS))), "columns", ANEW),
        expect(
            "types",
            gxe.ExpectColumnPairValuesToBeEqual,
            "every column is there with its type",
            ANEW,
            column_A="found",
            column_B="expected",
        ),
    ]


def interactions(params: Validate) -> expectations.Suite:
    return [
        at_least("few_interactions", params.min_interactions, "interactions", SOURCE),
        *(present(column) for column in ("user_id", "item_id", "value", "n_events")),
        nothing("repeated_pair", "every pair of user_id and item_id occurs once, in order", ANEW),
        *(id_length(column) for column in ("user_id", "item_id")),
        expect(
            "value",
            gxe.ExpectColumnValuesToBeBetween,
            "every value is positive and finite",
            ANEW,
            column="value",
            min_value=0,
            strict_min=True,
            max_value=LARGEST_FLOAT32,
        ),
        expect(
            "n_events",
            gxe.ExpectColumnValuesToBeBetween,
            "every n_events is at least 1",
            ANEW,
            column="n_events",
            min_value=1,
        ),
        expect(
            "timestamp",
            gxe.ExpectColumnValuesToBeBetween,
            "every timestamp lies between 1990 and 2100",
            "is ingest.table.timestamp_unit right?",
            column="timestamp",
            min_value=datetime(1990, 1, 1),
            max_value=datetime(2100, 1, 1),
        ),
        nothing("future", "no timestamp lies in the future", "leave those events out with ingest.until"),
        nothing("unknown_item", "every item_id is one of items", ANEW),
        expect(
            "few_touched_items",
            gxe.ExpectColumnUniqueValueCountToBeBetween,
            f"at least {params.min_items} items have interactions",
            SOURCE,
            column="item_id",
            min_value=params.min_items,
        ),
    ]


def items(params: Validate) -> expectations.Suite:
    return [
        at_least("few_items", params.min_items, "items", SOURCE),
        *(present(column) for column in ("item_id", "title", "text")),
        expect("repeated_item", gxe.ExpectColumnValuesToBeUnique, "every item_id occurs once", ANEW, column="item_id"),
        id_length("item_id"),
        expect(
            "empty_text",
            gxe.ExpectColumnValueLengthsToBeBetween,
            f"at most {percent(params.max_empty_text)} of the texts are empty",
            "set ingest.table.text to columns with words, or accept it with max_empty_text",
            column="text",
            min_value=1,
            max_value=MAX_TEXT_LENGTH,
            mostly=1 - params.max_empty_text,
        ),
        share(
            "same_text",
            "is_original",
            f"at most {percent(params.max_same_text)} of the texts repeat another's words",
            "add columns to ingest.table.text that distinguish items, or remove duplicates from the catalogue",
            1 - params.max_same_text,
        ),
        share(
            "untouched_items",
            "is_touched",
            f"at most {percent(params.max_untouched_items)} of the items have no interaction",
            "check that items and interactions have the same item ids, and that all interaction files are present",
            1 - params.max_untouched_items,
        ),
    ]


def users(params: Validate) -> expectations.Suite:
    return [
        at_least("few_users", params.min_users, "users", SOURCE),
        expect(
            "loud_user",
            gxe.ExpectColumnMaxToBeBetween,
            f"no user has more than {percent(params.max_user_share)} of the interactions",
            "if it is a shared guest account or a bot, remove it from the source",
            column="share",
            max_value=params.max_user_share,
        ),
    ]


def against_profile(tolerances: Tolerances) -> expectations.Suite:
    """Return the expectations of the view `profile`: one row that compares the tables with the last good version."""
    shrink, heavy = tolerances.max_shrink, tolerances.max_heavy_user
    remedy = "compare the sources of the two versions; an intended change needs no action, and is the new reference"

    def least(column: str, noun: str) -> expectations.Expectation:
        words = f"{noun} did not shrink by more than {percent(shrink)}"
        kind = gxe.ExpectColumnMinToBeBetween
        return expect(f"profile_{column}", kind, words, remedy, column=column, min_value=1 - shrink)

    def most(column: str, words: str, bound: float) -> expectations.Expectation:
        kind = gxe.ExpectColumnMaxToBeBetween
        return expect(f"profile_{column}", kind, words, remedy, column=column, max_value=bound)

    return [
        least("interactions", "interactions"),
        least("users", "users"),
        least("items", "items with interactions"),
        least("per_day", "interactions per day"),
        most("heavy_user", f"the most active user grew by a factor of at most {heavy:g}", heavy),
        most(
            "head",
            f"the share of the top 1% of items grew by at most {percent(tolerances.max_head_gain)}",
            tolerances.max_head_gain,
        ),
        most(
            "values",
            f"the distribution of values shifted by at most {percent(tolerances.max_value_shift)}",
            tolerances.max_value_shift,
        ),
        most(
            "script",
            f"at most {percent(tolerances.max_value_shift)} of texts changed script",
            tolerances.max_value_shift,
        ),
    ]


def of_custom(custom: Custom) -> expectations.Expectation:
    """Return an expectation of params.yaml, by its name in Great Expectations."""
    kind = getattr(gxe, "".join(part.capitalize() for part in custom.expect.split("_")), None)
    if kind is None:
        raise ValueError(f"validate.custom has {custom.expect}, which is not in Great Expectations; check its spelling")
    try:
        return expect(custom.code, kind, custom.says, custom.remedy, **custom.kwargs)
    except (ValueError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"validate.custom {custom.code}: {problem}; correct its kwargs") from error


def percent(share: float) -> str:
    return f"{share * 100:g}%"


def at_least(code: str, n_rows: int, noun: str, remedy: str) -> expectations.Expectation:
    words = f"there are at least {n_rows} {noun}"
    return expect(code, gxe.ExpectTableRowCountToBeBetween, words, remedy, min_value=n_rows)


def present(column: str) -> expectations.Expectation:
    words = f"every {column} is present"
    return expect(f"absent_{column}", gxe.ExpectColumnValuesToNotBeNull, words, ANEW, column=column)


def nothing(column: str, words: str, remedy: str) -> expectations.Expectation:
    """Return the expectation that a column is null, as in all good rows."""
    return expect(column, gxe.ExpectColumnValuesToBeNull, words, remedy, column=column)


def share(code: str, column: str, words: str, remedy: str, mostly: float) -> expectations.Expectation:
    kind = gxe.ExpectColumnValuesToBeInSet
    return expect(code, kind, words, remedy, column=column, value_set=[True], mostly=mostly)


def id_length(column: str) -> expectations.Expectation:
    words = f"every {column} has 1 to {MAX_ID_LENGTH} characters"
    bounds = {"min_value": 1, "max_value": MAX_ID_LENGTH}
    return expect(f"length_{column}", gxe.ExpectColumnValueLengthsToBeBetween, words, ANEW, column=column, **bounds)


def check_codes(of: Sequence[expectations.Expectation], warn: Sequence[str]) -> None:
    """Raise ValueError if `warn` has a code without an expectation: its failure would stop the run all the same."""
    known = {code_of(expectation) for expectation in of}
    if unknown := sorted(set(warn) - known):
        raise ValueError(
            f"validate.warn has {', '.join(unknown)}, expected codes of expectations: {', '.join(sorted(known))}"
        )
