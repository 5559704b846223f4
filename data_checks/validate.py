"""Run a suite on a frame, or on a table or query inside Postgres."""

from __future__ import annotations

from typing import Any

import great_expectations as gx
import pandas as pd
import polars as pl
import psycopg
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context import EphemeralDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from psycopg import sql
from psycopg.types.datetime import TimestamptzLoader
from sqlalchemy import StaticPool
from sqlalchemy.exc import SQLAlchemyError

from data_checks.report import CheckReport, Finding
from storage.postgres.database import connect

EXAMPLES = 5
EXAMPLE_LENGTH = 120  # characters


class CheckError(RuntimeError):
    """A check that could not be carried out; what it is about may be good or bad."""


def check_frame(suite: gx.ExpectationSuite, frame: pl.DataFrame | pd.DataFrame) -> CheckReport:
    """Run ``suite`` on the rows of ``frame``. NaN counts as missing.

    Raises:
        CheckError: the frame lacks a column, or it holds values of another kind.
    """
    if isinstance(frame, pl.DataFrame):
        frame = frame.to_pandas()
    source = _context().data_sources.add_pandas("frame")
    definition = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    return _validate(suite, definition.get_batch({"dataframe": frame}), len(frame))


def check_table(suite: gx.ExpectationSuite, database_url: str, source: str) -> CheckReport:
    """Run ``suite`` inside Postgres.

    Args:
        database_url: for libpq, as ``storage.postgres.database.database_url`` gives it.
        source: ``schema.table``, or a SELECT, whose rows are put in a temporary table.

    Raises:
        CheckError: the table or a column cannot be read.
        storage.postgres.database.DatabaseError: the database cannot be reached.
    """
    with connect(database_url) as connection:
        connection.adapters.register_loader("timestamptz", _AnyTime)
        try:
            database = _context().data_sources.add_postgres(  # type: ignore[call-arg]  # its stub lacks kwargs
                "postgres",
                # a form that it accepts, socket or not; the creator is what connects
                connection_string="postgresql+psycopg://feedwright@localhost/feedwright",
                # one connection for all, since no other sees its temporary table
                kwargs={"creator": lambda: connection, "poolclass": StaticPool},
            )
            table = _table(connection, source)
            (rows,) = connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            ).fetchone() or (0,)
            asset = database.add_table_asset(suite.name, table_name=table)
            batch = asset.add_batch_definition_whole_table("all").get_batch()
            return _validate(suite, batch, rows)
        except (psycopg.Error, SQLAlchemyError, GreatExpectationsError, ValueError) as error:
            raise CheckError(f"{suite.name} cannot be checked: {error}") from error


def _table(connection: psycopg.Connection, source: str) -> str:
    """Name of the table to look at, in a schema that is searched.

    Great Expectations can take a query itself, but then fetches all of its rows, twice,
    to learn the names of its columns.
    """
    schema, _, table = source.partition(".")
    if schema.isidentifier() and table.isidentifier():
        connection.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(sql.Identifier(schema, table)))
        connection.execute("SELECT set_config('search_path', %s, false)", [schema])
    else:
        table = "checked"
        connection.execute(sql.SQL(f"CREATE TEMPORARY TABLE {table} AS {source}"))
        connection.execute(sql.SQL(f"ANALYZE {table}"))
    connection.commit()
    return table


class _AnyTime(TimestamptzLoader):
    """Python's datetime ends in the year 9999; what lies beyond is shown as text."""

    def load(self, data: Any) -> Any:
        try:
            return super().load(data)
        except psycopg.DataError:
            return bytes(data).decode()


def _context() -> EphemeralDataContext:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _validate(suite: gx.ExpectationSuite, batch: Batch, rows: int) -> CheckReport:
    """Count first, in one pass over the data; then ask for examples where there are any.

    To look for examples is a pass for each expectation, even when it has none.
    """
    counted = batch.validate(_strict(suite), result_format="BOOLEAN_ONLY")
    broken = {_config(result).description for result in counted.results if not result.success}
    results = _detailed(suite, batch, broken) if broken else {}
    findings = tuple(
        _finding(results[expectation.description])
        if expectation.description in broken
        else Finding(
            str(expectation.description), _columns(expectation.configuration), True, "as expected"
        )
        for expectation in suite.expectations
    )
    return CheckReport(
        suite=suite.name,
        success=all(finding.success for finding in findings),
        rows_checked=rows,
        findings=findings,
    )


def _detailed(
    suite: gx.ExpectationSuite, batch: Batch, broken: set[str | None]
) -> dict[str | None, ExpectationValidationResult]:
    """Of the expectations that are ``broken``, by their words."""
    detailed = batch.validate(
        gx.ExpectationSuite(
            name=suite.name,
            expectations=[
                expectation
                for expectation in suite.expectations
                if expectation.description in broken
            ],
        ),
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": EXAMPLES,
            "unexpected_index_column_names": suite.meta["row_id"],
        },
    )
    return {_config(result).description: result for result in detailed.results}


def _strict(suite: gx.ExpectationSuite) -> gx.ExpectationSuite:
    """The same suite, where no share of unexpected rows is tolerated."""
    strict = [
        expectation.copy(update={"mostly": 1.0})
        if "mostly" in expectation.__fields__
        else expectation
        for expectation in suite.expectations
    ]
    return gx.ExpectationSuite(name=suite.name, expectations=strict)


def _finding(result: ExpectationValidationResult) -> Finding:
    seen, config = _evaluated(result), _config(result)
    unexpected = int(seen.get("unexpected_count", 0))
    if "unexpected_count" in seen:
        observed = f"{unexpected:,} of {seen['element_count']:,} rows"
    else:
        observed = _shown(seen["observed_value"])
    return Finding(
        expectation=str(config.description),
        column=_columns(config),
        success=bool(result.success),
        observed=observed,
        unexpected_count=unexpected,
        unexpected_percent=float(seen.get("unexpected_percent") or 0.0),
        examples=_examples(seen),
    )


def _evaluated(result: ExpectationValidationResult) -> dict[str, Any]:
    """What an expectation saw; its exceptions come one for all, or one for each metric."""
    info = result.exception_info
    for entry in [info] if "raised_exception" in info else info.values():
        if entry["raised_exception"]:
            raise CheckError(
                f"{_config(result).description!r} cannot be checked: "
                f"{str(entry['exception_message']).partition(chr(10))[0]}"
            )
    return result.result


def _config(result: ExpectationValidationResult) -> ExpectationConfiguration:
    assert result.expectation_config is not None  # only of results that were read from a store
    return result.expectation_config


def _columns(config: ExpectationConfiguration) -> str:
    named = ("column", "column_A", "column_B")
    return ", ".join(config.kwargs[name] for name in named if name in config.kwargs)


def _examples(seen: dict[str, Any]) -> tuple[str, ...]:
    """The rows by id, then what they hold; bare values where no rows are told."""
    ids = seen.get("unexpected_index_column_names", [])
    rows = seen.get("partial_unexpected_index_list") or ()
    if not rows:
        return tuple(_shown(value) for value in seen.get("partial_unexpected_list", ()))
    return tuple(
        ", ".join(f"{name} {_shown(row[name])}" for name in dict.fromkeys([*ids, *row]))
        for row in rows
    )


def _shown(value: Any) -> str:
    if value is None or value is pd.NaT:
        return "empty"
    text = str(value)
    return text if len(text) <= EXAMPLE_LENGTH else f"{text[:EXAMPLE_LENGTH]}…"
