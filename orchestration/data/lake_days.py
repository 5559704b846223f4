"""Days of the lake, written from Postgres. Only steps of the pool ``lake`` do this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from logging import Logger

import polars as pl

from orchestration.resources import Platform
from storage.catalogue import queries
from storage.events.lake import Lake

READ_ROWS = 1_000_000
"""That are read at once, so memory stays bounded; a day is read whole."""
NAMED = 20


def write_days(log: Logger, platform: Platform, days: list[date]) -> int:
    """Write these days, in order, as Postgres has them now; returns their rows."""
    with platform.connect() as conn:
        counts = queries.rows_by_day(conn, days)
    written = 0
    for some in _batches(days, counts):
        rows = queries.read_interactions(platform.url, some)
        rows = rows.with_columns(day=pl.col("occurred_at").dt.date())
        parts = rows.partition_by("day", include_key=False, as_dict=True)
        for day in some:
            platform.lake.write_day(day, parts.get((day,), rows.clear()))
        written += len(rows)
        log.info("%s to %s: %d interactions", some[0], some[-1], len(rows))
    return written


def broken_days(log: Logger, lake: Lake) -> list[date]:
    """Days whose file is broken, which is a warning: they must be read again."""
    broken = lake.broken_days()
    if broken:
        named = ", ".join(map(str, broken[:NAMED]))
        log.warning("files of %d days are broken, and read again: %s", len(broken), named)
    return broken


def mend_broken_days(log: Logger, platform: Platform) -> None:
    """Write the days whose file is broken again."""
    write_days(log, platform, broken_days(log, platform.lake))


def _batches(days: list[date], counts: Mapping[date, int]) -> Iterator[list[date]]:
    """The days in order, ``READ_ROWS`` or a single day at once: a read costs what a connection
    does, however few its rows."""
    some: list[date] = []
    rows = 0
    for day in days:
        if some and rows + counts.get(day, 0) > READ_ROWS:
            yield some
            some, rows = [], 0
        some.append(day)
        rows += counts.get(day, 0)
    if some:
        yield some
