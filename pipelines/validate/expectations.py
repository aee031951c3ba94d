"""Great Expectations on an engine's views: run suites, and return the results as plain values."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import count
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when great_expectations is imported, hence above it

import great_expectations as gx
import great_expectations.expectations as gxe
import sqlalchemy as sa
from duckdb import DuckDBPyConnection
from duckdb_engine import Dialect
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.data_context import AbstractDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.validator.v1_validator import Validator

from pipelines.artifacts.outputs import StageRun
from pipelines.runtime import engine as runtime_engine
from pipelines.runtime import spark as runtime_spark
from pipelines.runtime.engine import Embedded, Tables
from pipelines.settings.engine import Engine

# Loaded together with GX, DuckDB's binding (nanobind) outlives the interpreter and prints 60 lines of leaks at exit.
atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))

__all__ = ["Expectation", "Results", "Source", "Suite", "describe", "gxe", "source"]

# Counting unexpected rows costs as much as a boolean result (1 M rows, 15 expectations: 0.54 s and 0.6 s); collecting
# examples doubles it, so examples are collected only for failed expectations.
COUNTS: dict[str, Any] = {"result_format": "BASIC", "partial_unexpected_count": 0}
EXAMPLES: dict[str, Any] = {"result_format": "BASIC", "partial_unexpected_count": 5}

Suite = list[Expectation]
Batch = tuple[BatchDefinition[Any], dict[str, Any] | None]
Results = dict[str, ExpectationSuiteValidationResult]


class AutocommitDialect(Dialect):
    """DuckDB dialect without explicit transactions: the engine's begin and rollback fail with DuckDB's DB-API."""

    supports_statement_cache = False

    def do_begin(self, dbapi_connection: object) -> None: ...
    def do_rollback(self, dbapi_connection: object) -> None: ...
    def do_commit(self, dbapi_connection: object) -> None: ...


class Source:
    """Views of an engine, to run suites on; batch_of: all rows of a view as a batch of GX."""

    def __init__(
        self, engine: Tables, batch_of: Callable[[str], Batch], *, shortage: Callable[[str], str | None]
    ) -> None:
        """Keep the engine; shortage: remedy for a message about too little memory or disk."""
        self.engine = engine
        self.batch_of = batch_of
        self.shortage = shortage

    def check(self, view: str, suite: Suite) -> ExpectationSuiteValidationResult:
        """Run a suite on a view; results in the suite's order, with examples of unexpected values for failed ones."""
        batch = self.batch_of(view)
        numbered = [e.copy(update={"meta": {**(e.meta or {}), "number": number}}) for number, e in enumerate(suite)]
        results = ask(batch, numbered, COUNTS)
        failed = [e for e, result in zip(numbered, results, strict=True) if not result.success]
        for result in ask(batch, failed, EXAMPLES) if failed else []:
            results[number_of(result)] = result
        for message in filter(None, map(raised, results)):  # GX would report it as a failure of the data
            if problem := self.shortage(message):
                raise ValueError(problem)
        return ExpectationSuiteValidationResult(
            success=all(result.success for result in results),
            results=results,
            suite_name=view,
            suite_parameters={},
            statistics={},
            meta={"great_expectations_version": gx.__version__},
        )

    def unexpected(self, view: str, expectation: Expectation, key: tuple[str, ...]) -> list[tuple[Any, ...]]:
        """Return the values of some columns in all rows of a view that fail a row expectation."""
        wanted = {"result_format": "COMPLETE", "unexpected_index_column_names": list(key)}
        numbered = expectation.copy(update={"meta": {**(expectation.meta or {}), "number": 0}})
        (result,) = ask(self.batch_of(view), [numbered], wanted)
        if message := raised(result):
            raise ValueError(
                self.shortage(message) or f"cannot list the rows that fail {expectation.description}: {message}"
            )
        return [tuple(row[name] for name in key) for row in result.result["unexpected_index_list"]]


@contextmanager
def source(stage: StageRun, memory_limit: str, engine: Engine) -> Iterator[Source]:
    """Yield the engine of params.yaml, without views; raises ValueError if memory or disk is too small."""

    def shortage(message: str) -> str | None:
        return runtime_engine.shortage(message, stage.folder, f"{stage.name}.memory_limit", memory_limit)

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    if engine.name == "spark":
        with runtime_spark.connect(stage, memory_limit, engine) as spark:
            yield Source(spark, spark_batches(context, spark), shortage=shortage)
        return
    with runtime_engine.naming_shortages(stage, memory_limit), duckdb(context, stage, memory_limit) as (con, batch_of):
        yield Source(Embedded(con), batch_of, shortage=shortage)


def spark_batches(context: AbstractDataContext, spark: runtime_spark.Spark) -> Callable[[str], Batch]:
    datasource, numbers = context.data_sources.add_spark("spark"), count(1)

    def batch_of(view: str) -> Batch:
        batch = datasource.add_dataframe_asset(f"{view} {next(numbers)}").add_batch_definition_whole_dataframe("all")
        return batch, {"dataframe": spark.session.table(view)}

    return batch_of


@contextmanager
def duckdb(
    context: AbstractDataContext, stage: StageRun, memory_limit: str
) -> Iterator[tuple[DuckDBPyConnection, Callable[[str], Batch]]]:
    """Yield an empty in-memory DuckDB that spills into the stage's folder, and remove it afterwards."""
    sa.dialects.registry.register("duckdb.autocommit", __name__, AutocommitDialect.__name__)
    # GX opens two engines; they share the database by its name, as long as one connection is open
    spill = Path(mkdtemp(dir=stage.folder, prefix=".spill-"))
    url = f"duckdb+autocommit:///:memory:{spill.name}"
    datasource = context.data_sources.add_sql("duckdb", connection_string=url, create_temp_table=False)
    engines = datasource.get_engine(), datasource.get_execution_engine().engine
    numbers = count(1)  # a view can change, and then GX needs a new name

    def batch_of(view: str) -> Batch:
        asset = datasource.add_table_asset(f"{view} {next(numbers)}", table_name=view)
        return asset.add_batch_definition_whole_table("all"), None

    try:
        with engines[0].connect() as connection:
            con: DuckDBPyConnection = connection.connection.dbapi_connection  # type: ignore[assignment]
            con.execute(f"{runtime_engine.settings(spill, memory_limit)}; {runtime_engine.MACROS}")
            # parquet statistics ignore NaN, and DuckDB relies on them, so a NaN would pass every range
            con.execute("set global disabled_optimizers = 'statistics_propagation,filter_pushdown'")
            yield con, batch_of
    finally:
        for engine in engines:
            engine.dispose()
        rmtree(spill, ignore_errors=True)


def ask(batch: Batch, suite: Suite, result_format: dict[str, Any]) -> list[ExpectationValidationResult]:
    definition, parameters = batch
    validator = Validator(definition, result_format=result_format, batch_parameters=parameters)
    results = validator.validate_expectation_suite(gx.ExpectationSuite(name="suite", expectations=suite)).results
    return sorted(results, key=number_of)  # GX puts expectations that raised first


def number_of(result: ExpectationValidationResult) -> int:
    return int(config_of(result).meta["number"])


def config_of(result: ExpectationValidationResult) -> ExpectationConfiguration:
    if result.expectation_config is None:
        raise ValueError("Great Expectations returned a result without its expectation; run the stage again")
    return result.expectation_config


def describe(table: str, result: ExpectationValidationResult) -> dict[str, Any]:
    """Return an expectation and its result as plain JSON values."""
    config = config_of(result)
    return {
        "table": table,
        "code": (config.meta or {}).get("code", config.type),
        "name": config.description,
        "remedy": (config.meta or {}).get("remedy", "look at the data"),
        "expectation": config.type,
        "kwargs": {k: str(v) if isinstance(v, date) else v for k, v in config.kwargs.items() if k != "batch_id"},
        "success": bool(result.success),
        "observed": observed(result),
        "error": raised(result),
    }


def observed(result: ExpectationValidationResult) -> Any:
    """Return the aggregate, or the numbers of unexpected and all rows, with examples for a failed expectation."""
    found = result.result
    if "unexpected_count" not in found:
        return found.get("observed_value")
    counts = {"unexpected": found["unexpected_count"], "rows": found["element_count"]}
    examples = [str(value) for value in found.get("partial_unexpected_list") or []]
    return counts | ({"examples": examples} if examples else {})


def raised(result: ExpectationValidationResult) -> str | None:
    """Return the message of an expectation's exception, which GX reports only as `success: false`."""
    info = result.exception_info or {}
    causes = [info] if "raised_exception" in info else list(info.values())  # by metric if a metric raised
    messages = [str(cause["exception_message"]) for cause in causes if cause["raised_exception"]]
    return " ".join(messages[0].split()) if messages else None
