"""Checked rows of a log -> temporary tables of the session, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
import psycopg
from psycopg import sql

from storage.loading.log import Log
from storage.loading.values.columns import COLUMNS, SQL_TYPES, Entity
from storage.loading.values.validation import checked
from storage.postgres.bulk import copy_frame

Progress = Callable[[str, int, int], None]

REFUSED = "staging_refused"
REFUSED_AT_ONCE = 2_000  # rows: a single one may hold megabytes
SORT_MEMORY = "128MB"
# Which of several interactions alike one without an event id is; the first is 0.
_NUMBER = """
UPDATE staging_interactions AS s SET nth = n.nth FROM (
    SELECT ctid AS at, row_number() OVER (
        PARTITION BY user_id, item_id, type, occurred_at ORDER BY row_number
    ) - 1 AS nth
    FROM staging_interactions {}
) AS n
WHERE n.nth > 0 AND s.ctid = n.at
"""


@dataclass
class Staged:
    """The rows of one entity in ``staging_<entity>``.

    ``columns``: what the log has. ``months``: their first days, of interactions. ``derived`` and
    ``given``: whether there are rows without an event id, and with one.
    """

    columns: list[str] = field(default_factory=list)
    read: int = 0
    good: int = 0
    duplicates: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    months: set[datetime] = field(default_factory=set)
    derived: bool = False
    given: bool = False


@contextmanager
def staged(
    conn: psycopg.Connection, log: Log, progress: Progress | None
) -> Iterator[dict[Entity, Staged]]:
    """The checked rows of ``log`` in temporary tables, and the refused ones in ``REFUSED``.

    Nothing else is written or locked. Memory holds a few chunks of rows.
    """
    try:
        with conn.transaction():
            conn.execute(
                f"CREATE TEMP TABLE {REFUSED}"
                " (entity text, source text, row_number bigint, reason text, raw text,"
                " user_ids text[])"
            )
            rows_of = {entity: _stage(conn, log, entity, progress) for entity in log.entities}
        yield rows_of
    finally:
        if not conn.broken:
            with conn.transaction():
                for name in (REFUSED, *(f"staging_{entity}" for entity in log.entities)):
                    conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))


def _stage(conn: psycopg.Connection, log: Log, entity: Entity, progress: Progress | None) -> Staged:
    result = Staged()
    table = sql.Identifier(f"staging_{entity}")
    for part in checked(log, entity):
        good = part.good
        if entity == "interactions":
            result.months.update(good["occurred_at"].dt.truncate("1mo").unique().to_list())
            given = good["event_id"].count() if "event_id" in good.columns else 0
            result.derived |= given < len(good)
            result.given |= given > 0
        if not result.read:
            result.columns = [name for name in good.columns if name != "row_number"]
            _create(conn, table, entity, good.columns)
        copy_frame(conn, table, good)
        _stage_refused(conn, entity, log.source(entity), part.rejected)
        for kind, count in part.rejected["kind"].value_counts().iter_rows():
            result.reasons[kind] = result.reasons.get(kind, 0) + count
        result.read += part.rows
        result.good += len(good)
        result.duplicates += part.duplicates
        result.refused += len(part.rejected)
        if progress is not None:
            progress(entity, result.read, 0)
    if progress is not None:
        progress(entity, result.read, result.read)
    if result.derived:
        without = "WHERE event_id IS NULL" if "event_id" in result.columns else ""
        conn.execute(f"SET LOCAL work_mem = '{SORT_MEMORY}'")
        conn.execute(_NUMBER.format(without))
    if result.columns:
        conn.execute(sql.SQL("ANALYZE {}").format(table))
    return result


def _create(
    conn: psycopg.Connection, table: sql.Identifier, entity: Entity, columns: list[str]
) -> None:
    kinds = {column.name: SQL_TYPES[column.kind] for column in COLUMNS[entity]}
    kinds |= {"row_number": "bigint", "nth": "bigint DEFAULT 0"}
    if entity == "interactions":
        columns = [*columns, "nth"]
    definition = ", ".join(f"{name} {kinds[name]}" for name in columns)
    conn.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(table, sql.SQL(definition)))


def _stage_refused(
    conn: psycopg.Connection, entity: Entity, source: str, rejected: pl.DataFrame
) -> None:
    if rejected.is_empty():
        return
    rows = rejected.select(
        "row_number", "reason", "raw", "user_ids", entity=pl.lit(entity), source=pl.lit(source)
    )
    copy_frame(conn, sql.Identifier(REFUSED), rows, chunk=REFUSED_AT_ONCE)
