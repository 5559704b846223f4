"""Versions that were withdrawn, and what may go live, in Postgres.

A withdrawal is written here before MLflow's alias moves: workers read it, and stop serving the
version even while MLflow is away. Aliases are moved by ``going_live.releases`` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from storage.clocks import CLOCKS_DIFFER
from storage.postgres.database import connect

MOVE_LOCK = 0x6D_6F_76_65  # key of the advisory lock; "move" in ASCII
ROLLED_BACK = "model.rolled_back"
"""Action of the audit line that a rollback commits with."""
ACTIVATED = "model.activated"
RESTORED = "model.restored"


class Busy(RuntimeError):
    """Another move goes on for too long."""


@dataclass(frozen=True)
class Withdrawn:
    """A version that nothing may put live. ``done_at`` None: an alias may still name it."""

    version: str
    withdrawn_at: datetime
    actor: str
    reason: str
    done_at: datetime | None


@contextmanager
def moving(url: str, *, wait_seconds: float) -> Iterator[psycopg.Connection]:
    """A connection (autocommit) whose holder alone moves aliases. Dies with its process.

    Raises:
        Busy: somebody else holds it for longer than ``wait_seconds``.
        DatabaseError: Postgres is away.
    """
    with connect(url, autocommit=True) as conn:
        conn.execute(f"SET lock_timeout = {wait_seconds * 1000:.0f}")
        try:
            conn.execute("SELECT pg_advisory_lock(%s)", (MOVE_LOCK,))
        except psycopg.errors.LockNotAvailable as error:
            raise Busy(f"another move has gone on for {wait_seconds:g} s; try again") from error
        yield conn


def withdrawn(conn: psycopg.Connection) -> dict[str, Withdrawn]:
    """All withdrawn versions by their number, the latest first."""
    with conn.cursor(row_factory=class_row(Withdrawn)) as cursor:
        rows = cursor.execute(
            "SELECT model_version AS version, withdrawn_at, actor, reason, done_at"
            " FROM feed.withdrawn_versions ORDER BY withdrawn_at DESC"
        ).fetchall()
    return {row.version: row for row in rows}


def withdraw(conn: psycopg.Connection, version: str, actor: str, reason: str) -> None:
    """Note that nothing may serve this version."""
    conn.execute(
        "INSERT INTO feed.withdrawn_versions (model_version, actor, reason) VALUES (%s, %s, %s)",
        (version, actor, reason),
    )


def set_done(conn: psycopg.Connection, version: str) -> None:
    """No alias names the withdrawn version any more."""
    conn.execute(
        "UPDATE feed.withdrawn_versions SET done_at = coalesce(done_at, now())"
        " WHERE model_version = %s",
        (version,),
    )


def restore(conn: psycopg.Connection, version: str) -> None:
    """Take a withdrawal back."""
    conn.execute("DELETE FROM feed.withdrawn_versions WHERE model_version = %s", (version,))


def refusal(
    conn: psycopg.Connection, version: str, trained_from: datetime | None = None
) -> str | None:
    """Why this version may not go live by itself; None when it may.

    Args:
        trained_from: when its training began. It stays challenger if a rollback came after:
            whoever rolled back has not seen it, and it may have learnt from the same bad data.
    """
    row = conn.execute(
        "SELECT withdrawn_at, actor, reason FROM feed.withdrawn_versions WHERE model_version = %s",
        (version,),
    ).fetchone()
    if row is not None:
        return f"version {version} was withdrawn by {row[1]} at {row[0]:%Y-%m-%d %H:%M} ({row[2]})"
    if trained_from is None:
        return None
    row = conn.execute(
        "SELECT occurred_at FROM feed.audit_log WHERE action = %(done)s AND occurred_at >= %(from)s"
        # before the clock was set back, and so before the training
        " AND NOT (occurred_at > now() + %(differ)s AND %(from)s <= now() + %(differ)s)"
        " ORDER BY occurred_at DESC LIMIT 1",
        {"done": ROLLED_BACK, "from": trained_from, "differ": CLOCKS_DIFFER},
    ).fetchone()
    if row is None:
        return None
    return (
        f"there was a rollback at {row[0]:%Y-%m-%d %H:%M}, after the training of version {version} "
        f"began; look at it, then `feedwright models activate {version}`"
    )


def recent_breaches(conn: psycopg.Connection) -> list[str]:
    """Versions that a guardrail report of the last day says hurt while they were live, and that
    are not withdrawn; the latest report first."""
    rows = conn.execute(
        "SELECT model_version FROM feed.guardrail_reports AS r"
        " WHERE computed_at > now() - interval '1 day' AND status = 'breach'"
        " AND experiment IS NULL AND model_version IS NOT NULL AND NOT EXISTS"
        " (SELECT FROM feed.withdrawn_versions w WHERE w.model_version = r.model_version)"
        " GROUP BY model_version ORDER BY max(id) DESC"
    )
    return [version for (version,) in rows]


def activated_after(conn: psycopg.Connection, version: str, report: int) -> bool:
    """Whether somebody put the version live since this guardrail report, or it may be so: of a
    report from before the clock was set back nobody knows."""
    row = conn.execute(
        "SELECT FROM feed.audit_log AS a JOIN feed.guardrail_reports AS r"
        " ON r.id = %s AND (a.occurred_at > r.computed_at OR r.computed_at > now() + %s)"
        " WHERE action = %s AND a.detail->>'version' = %s LIMIT 1",
        (report, CLOCKS_DIFFER, ACTIVATED, version),
    ).fetchone()
    return row is not None


def restored_at(conn: psycopg.Connection, version: str, since: datetime) -> datetime | None:
    """When somebody last took the withdrawal of a version back; None: not since ``since``."""
    row = conn.execute(
        "SELECT max(occurred_at) FROM feed.audit_log"
        " WHERE action = %s AND occurred_at >= %s AND detail->>'version' = %s",
        (RESTORED, since, version),
    ).fetchone()
    return row[0] if row else None


def last_rollback(conn: psycopg.Connection) -> datetime | None:
    """When a version was last rolled back, by whomever; None: never."""
    row = conn.execute(
        "SELECT occurred_at FROM feed.audit_log WHERE action = %s"
        " ORDER BY occurred_at DESC LIMIT 1",
        (ROLLED_BACK,),
    ).fetchone()
    return row[0] if row else None


def lists_made_by(conn: psycopg.Connection) -> set[str]:
    """The lowest and the highest version in ``feed.recommendations``: one when all are alike."""
    row = conn.execute(
        "SELECT min(model_version), max(model_version) FROM feed.recommendations WHERE rank = 1"
    ).fetchone()
    return {version for version in row or () if version is not None}


def delete_withdrawn_lists(conn: psycopg.Connection) -> int:
    """Delete the ready lists of withdrawn versions; returns the rows that went."""
    return conn.execute(
        "DELETE FROM feed.recommendations WHERE model_version IN"
        " (SELECT model_version FROM feed.withdrawn_versions)"
    ).rowcount
