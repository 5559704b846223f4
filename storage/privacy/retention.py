"""Delete what was kept long enough: interactions, refused rows, the audit log, old snapshots.

Interactions older than a day are dropped a month at a time where the whole month is older,
which costs nothing however many there are, and deleted in batches where it is not.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from storage.operations import variant_counts

log = logging.getLogger(__name__)

BATCH = 10_000
LOCK_SECONDS = 2
"""For so long at most does dropping a month make others wait; then it is left for tomorrow."""
LONGEST_STEP = timedelta(days=7)
"""Between the times by which two runs delete."""
WATERMARK = "retention"
_MONTH = re.compile(r"interactions_(\d{4})(\d{2})")
DEFAULT = "interactions_default"
Timed = Literal[
    "interactions_rejected", "audit_log", "alerts", "served_minutes", "guardrail_reports"
]
TIMES: dict[Timed, str] = {
    "interactions_rejected": "rejected_at",
    "audit_log": "occurred_at",
    "alerts": "raised_at",
    "served_minutes": "minute",
    "guardrail_reports": "computed_at",
}
"""The column with the time of a row."""


def follow_clock(conn: psycopg.Connection, now: datetime) -> datetime:
    """The time by which a run deletes: ``now``, but at most ``LONGEST_STEP`` after that of the run
    before, or after the newest interaction where there was none. So a clock that jumps ahead by
    years costs a week's rows a day, not all of them, and one that was right is soon followed.
    """
    row = conn.execute(
        "SELECT coalesce((SELECT at FROM feed.watermarks WHERE name = %s),"
        " (SELECT max(received_at) FROM feed.interactions), %s)",
        (WATERMARK, now),
    ).fetchone()
    assert row is not None
    followed = min(now, row[0] + LONGEST_STEP)
    conn.execute(
        "INSERT INTO feed.watermarks VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET at = excluded.at",
        (WATERMARK, followed),
    )
    return followed


def first_day_kept(days: int, now: datetime) -> date:
    """The oldest whole UTC day that is kept. What is older goes."""
    return (now.astimezone(UTC) - timedelta(days=days)).date()


def drop_months(conn: psycopg.Connection, first_kept: date) -> dict[str, int]:
    """Drop the partitions of months that are wholly before ``first_kept``.

    Args:
        conn: in autocommit: each month is a transaction of its own.

    Returns:
        Table -> rows that it had. A month that others use for longer than ``LOCK_SECONDS``
        is not among them, and still there.
    """
    dropped = {}
    for table in _months(conn):
        if _next_month(table) > first_kept:
            continue
        name = sql.Identifier("feed", table)
        rows = _first(conn, sql.SQL("SELECT count(*) FROM {}").format(name))
        try:
            with conn.transaction():
                conn.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                conn.execute(
                    sql.SQL("ALTER TABLE feed.interactions DETACH PARTITION {}").format(name)
                )
                conn.execute(sql.SQL("DROP TABLE {}").format(name))
        except psycopg.errors.LockNotAvailable:
            log.warning("%s is in use: it is dropped by the next run", table)
            continue
        dropped[table] = rows
    return dropped


def delete_older(conn: psycopg.Connection, first_kept: date, *, batch: int = BATCH) -> int:
    """Delete the interactions before ``first_kept`` that are in no month of their own, or in
    one that is partly kept. Each batch is a transaction of its own (``conn`` in autocommit).

    Their event ids go too, and who and what was deleted before is forgotten with them.

    Returns:
        Number of interactions.
    """
    before = datetime.combine(first_kept, datetime.min.time(), UTC)
    _delete(conn, sql.Identifier("feed", "deleted"), "deleted_at", before, batch)
    deleted = 0
    for table in (*_months(conn), DEFAULT):
        if table != DEFAULT and _month(table) >= first_kept:
            continue
        deleted += _delete(conn, sql.Identifier("feed", table), "occurred_at", before, batch)
    # those of months that were dropped too: at once, since nobody waits for these rows
    conn.execute("DELETE FROM feed.event_ids WHERE occurred_at < %s", (before,))
    return deleted


def delete_rows(
    conn: psycopg.Connection, table: Timed, days: int, now: datetime, *, batch: int = BATCH
) -> int:
    """Delete the rows of a table of more than ``days`` ago. Returns how many."""
    before = now - timedelta(days=days)
    return _delete(conn, sql.Identifier("feed", table), TIMES[table], before, batch)


def delete_metrics(conn: psycopg.Connection, first_kept: date, *, batch: int = BATCH) -> int:
    """Delete what was counted by hour and by day before ``first_kept``. Returns the rows of users.

    First the note from when on it is counted, so that nobody takes half for the whole.
    """
    before = datetime.combine(first_kept, datetime.min.time(), UTC)
    conn.execute(
        "UPDATE feed.watermarks SET at = %s WHERE name = %s AND at < %s",
        (before, variant_counts.SINCE, before),
    )
    _delete(conn, sql.Identifier("feed", "variant_items"), "day", before, batch)
    return _delete(conn, sql.Identifier("feed", "variant_hours"), "hour", before, batch)


def delete_erasures(conn: psycopg.Connection, days: int, now: datetime) -> int:
    """Delete the hashes of ids that were erased, and done with, more than ``days`` ago."""
    return conn.execute(
        "DELETE FROM feed.erasures WHERE lake_done_at < %s",
        (now - timedelta(days=days),),
    ).rowcount


def delete_folders(parent: Path, kept: Collection[str], *, newest: int) -> list[str]:
    """Remove the folders below ``parent`` that are called by a number, but for those in ``kept``
    and the ``newest`` highest numbers. Returns their names.

    A process that has mapped the files of one goes on reading them.
    """
    if not parent.is_dir():
        return []
    numbers = [entry.name for entry in parent.iterdir() if entry.name.isdecimal()]
    ordered = sorted(numbers, key=int, reverse=True)
    old = [name for name in ordered[newest:] if name not in kept]
    for name in old:
        # Nobody finds half a folder, and one that is left of a run that broke off goes too.
        (parent / name).rename(parent / f".old-{name}")
    for gone in parent.glob(".old-*"):
        shutil.rmtree(gone)
    return old


def _delete(
    conn: psycopg.Connection, table: sql.Composable, column: str, before: date, batch: int
) -> int:
    query = sql.SQL(
        "DELETE FROM {table} WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM {table} WHERE {column} < %s LIMIT %s))"
    ).format(table=table, column=sql.Identifier(column))
    deleted = 0
    while rows := conn.execute(query, (before, batch)).rowcount:
        deleted += rows
    return deleted


def _months(conn: psycopg.Connection) -> list[str]:
    """Partitions that hold a month, oldest first."""
    rows = conn.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE inhparent = 'feed.interactions'::regclass ORDER BY 1"
    )
    return [name for (name,) in rows if _MONTH.fullmatch(name)]


def _month(table: str) -> date:
    match = _MONTH.fullmatch(table)
    assert match is not None
    return date(int(match[1]), int(match[2]), 1)


def _next_month(table: str) -> date:
    return (_month(table) + timedelta(days=31)).replace(day=1)


def _first(conn: psycopg.Connection, query: sql.Composed) -> int:
    row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]
