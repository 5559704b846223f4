"""Expectations that several suites share. Bounds are those of the loader and of the quarantine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from great_expectations import ExpectationSuite
from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column

from models.profile.training_sections import Checks
from storage.loading.values.columns import COLUMNS, EARLIEST, LATEST, MAX_ID_BYTES, Entity


def suite(name: str, expectations: Iterable[Expectation], *, row_id: list[str]) -> ExpectationSuite:
    """A suite whose examples name rows by the columns ``row_id``."""
    return ExpectationSuite(name=name, expectations=list(expectations), meta={"row_id": row_id})


def rows() -> list[Expectation]:
    return [gxe.ExpectTableRowCountToBeBetween(min_value=1, description="there are rows")]


def key(column: str) -> list[Expectation]:
    """``column`` tells rows apart. The tables themselves bound its bytes; this bounds characters,
    which are never more."""
    return [
        gxe.ExpectColumnValuesToNotBeNull(column=column, description=f"{column} is given"),
        gxe.ExpectColumnValuesToBeUnique(column=column, description=f"{column} is unique"),
        gxe.ExpectColumnValueLengthsToBeBetween(
            column=column,
            min_value=1,
            max_value=MAX_ID_BYTES,
            description=f"{column} has 1 to {MAX_ID_BYTES} characters",
        ),
    ]


def bounds(entity: Entity, checks: Checks, mostly: float) -> list[Expectation]:
    """The numbers and times of ``entity`` lie within their bounds."""
    now = datetime.now(UTC)
    made: list[Expectation] = []
    for column in COLUMNS[entity]:
        if column.kind in ("number", "whole"):
            low: float | datetime = column.low
            high: float | datetime = column.high
            words = f"{column.name} is in {low:g} to {high:g}"
        elif column.kind == "time" and column.future:
            low, high = EARLIEST, LATEST
            words = f"{column.name} is in 1970 to {LATEST.year}"
        elif column.kind == "time":
            low, high = EARLIEST, now + timedelta(minutes=checks.max_future_minutes)
            words = f"{column.name} is in 1970 to now"
        else:
            continue
        made.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=column.name, min_value=low, max_value=high, mostly=mostly, description=words
            )
        )
    return made


def place(mostly: float) -> list[Expectation]:
    """Latitude and longitude come together."""
    return [
        gxe.ExpectColumnValuesToNotBeNull(
            column=missing,
            row_condition=Column(given).is_not_null(),
            mostly=mostly,
            description=f"{given} comes with {missing}",
        )
        for given, missing in (("lat", "lon"), ("lon", "lat"))
    ]
