"""Users who were erased: what still has to be done, and what must not come back.

``people.erase`` deletes a user's rows in Postgres at once and notes them here. What comes in later
and is of the time before is not kept: triggers see to that (migrations 0012 and 0018),
whoever writes. The pipeline then erases them from the lake, and deletes what was on its way: rows
of a transaction that was open for long, or lists of a run that had read them before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg

from storage.operations import variant_counts

log = logging.getLogger("feedwright.storage")

NOTE = """
WITH noted AS (
    INSERT INTO feed.erasures AS e (id_sha256, erased_id)
    VALUES (sha256(convert_to(%(id)s, 'UTF8')), %(id)s)
    ON CONFLICT (id_sha256) DO UPDATE
    SET erased_id = excluded.erased_id, requested_at = excluded.requested_at, lake_done_at = NULL
    RETURNING requested_at
)
INSERT INTO feed.changes (entity, ids, changed_at)
SELECT 'erased', ARRAY[%(id)s::text], requested_at FROM noted
"""
"""Notes the erasure of ``id``, again if it is one that was erased before, for the pipeline and for
the workers."""
LOCK = 0x65_72_61_73  # key of the advisory lock; "eras" in ASCII
LOCK_SECONDS = 0.5
"""How long an erasure waits for writers of interactions. What one that takes longer brings, the
next run deletes."""

DERIVED = ("recommendations", "user_similarities", "implicit_interests", "refresh_queue")
"""Tables that a run may have written to from what it had read before the erasure."""

# An id that comes again after its erasure is another user: what it does from then on stays.
# Where the server gave the time, it is not known to be later: then the user must be there again.
_BEFORE = (
    "(i.occurred_at <= e.requested_at OR i.received_at <= e.requested_at"
    " OR i.metadata->'clock' ? 'reason'"
    " AND NOT EXISTS (SELECT FROM feed.users AS u WHERE u.id = i.user_id))"
)


# What a transaction that was open for long refused meanwhile.
_REFUSED_BEFORE = """
DELETE FROM feed.interactions_rejected AS r
USING (SELECT id, unnest(user_ids) AS user_id FROM feed.interactions_rejected) AS named,
      feed.erasures AS e
WHERE e.id_sha256 = sha256(convert_to(named.user_id, 'UTF8')) AND r.id = named.id
  AND r.rejected_at <= e.requested_at
"""


async def lock(connection: psycopg.AsyncConnection[Any]) -> None:
    """Wait for those who are writing interactions, and let nobody else until the transaction
    ends."""
    try:
        async with connection.transaction():  # a savepoint
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS * 1000:.0f}ms'")
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            await connection.execute("SET LOCAL lock_timeout = 0")
    except psycopg.errors.LockNotAvailable:
        log.info("an erasure did not wait for a long transaction")


async def erased_since(
    connection: psycopg.AsyncConnection[Any], since: float
) -> dict[bytes, float]:
    """SHA-256 of each id that was erased since, and when; both times in epoch seconds."""
    cursor = await connection.execute(
        "SELECT id_sha256, extract(epoch FROM requested_at)::float8 FROM feed.erasures"
        " WHERE requested_at >= to_timestamp(%s)",
        (since,),
    )
    return dict(await cursor.fetchall())


def pending(conn: psycopg.Connection) -> dict[str, datetime]:
    """Ids that the lake may still have, and when their erasure was asked for."""
    rows = conn.execute(
        "SELECT erased_id, requested_at FROM feed.erasures WHERE erased_id IS NOT NULL ORDER BY 1"
    )
    return dict(rows.fetchall())


def delete_late(conn: psycopg.Connection, since: datetime | None) -> int:
    """Delete what came of erased users after their erasure and is of the time before it.

    Args:
        since: look at what was received from then on; None: at everything. Of users whose
            erasure is pending everything is looked at in any case.

    Returns:
        Number of interactions. The caller commits.
    """
    if _count(conn, "SELECT count(*) FROM feed.erasures") == 0:
        return 0
    for table in DERIVED:
        delete_orphans(conn, table)
    conn.execute(_REFUSED_BEFORE)
    # Nobody counts meanwhile what is deleted here.
    conn.execute("SELECT pg_advisory_xact_lock(%s)", (variant_counts.LOCK,))
    # Not by whether the user is there: what unknown users do is counted too. With the hour in
    # which an id was erased, what the same id does in its rest is no longer counted.
    conn.execute(
        "DELETE FROM feed.variant_hours AS v USING feed.erasures AS e"
        " WHERE v.user_id = e.erased_id AND v.hour <= e.requested_at"
    )
    by_id = conn.execute(
        f"DELETE FROM feed.interactions AS i USING feed.erasures AS e"
        f" WHERE i.user_id = e.erased_id AND {_BEFORE}"
    )
    by_hash = conn.execute(
        f"""
        WITH came AS MATERIALIZED (
            SELECT DISTINCT user_id FROM feed.interactions
            WHERE user_id IS NOT NULL
              AND received_at >= coalesce(%s::timestamptz, '-infinity')
        ), erased AS MATERIALIZED (
            SELECT user_id, requested_at FROM came
            JOIN feed.erasures ON id_sha256 = sha256(convert_to(user_id, 'UTF8'))
        ), counted AS (
            DELETE FROM feed.variant_hours AS v USING erased AS e
            WHERE v.user_id = e.user_id AND v.hour <= e.requested_at
        )
        DELETE FROM feed.interactions AS i USING erased AS e
        WHERE i.user_id = e.user_id AND {_BEFORE}
        """,
        (since,),
    )
    return by_id.rowcount + by_hash.rowcount


def delete_orphans(conn: psycopg.Connection, table: str) -> None:
    """Delete the rows of a table of ``DERIVED`` whose user is not there. The caller commits."""
    keys = ("user_id", "similar_id") if table == "user_similarities" else ("user_id",)
    for key in keys:
        conn.execute(
            f"DELETE FROM feed.{table} AS t"
            f" WHERE NOT EXISTS (SELECT FROM feed.users AS u WHERE u.id = t.{key})"
        )


def set_done(conn: psycopg.Connection, erased: Mapping[str, datetime]) -> None:
    """The lake no longer has these (as ``pending`` gave them): of their ids the hash is left.

    One that was asked for again meanwhile stays pending. The caller commits.
    """
    ids: Sequence[str] = list(erased)
    conn.execute(
        "UPDATE feed.erasures AS e SET erased_id = NULL, lake_done_at = now()"
        " FROM unnest(%s::text[], %s::timestamptz[]) AS done(id, requested_at)"
        " WHERE erased_id = done.id AND e.requested_at = done.requested_at",
        (ids, list(erased.values())),
    )


def _count(conn: psycopg.Connection, query: Any) -> int:
    row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]
