"""Users whose ready list is to be made anew: a queue in Postgres, one entry a user.

Whoever stores a meaningful signal asks with ``request``. Whoever makes lists takes some users
with ``take``, and says ``done``. A user is taken by one at a time, and not again before the
minimum interval is over; what is asked for meanwhile is not lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes

DWELL_SECONDS = 10.0
LEASE = timedelta(minutes=10)
"""Whoever took a user and is silent for so long has died: another may take them."""


@dataclass(frozen=True)
class Taken:
    """Users that are ours until ``done``, or until the ``LEASE`` is over."""

    users: list[str]
    at: datetime


def is_meaningful(
    type: str, metadata: Mapping[str, Any] | None = None, types: InteractionTypes = DEFAULT_TYPES
) -> bool:
    """Whether an interaction changes what its user should be shown: anything but an impression,
    and a timed one (``metadata.seconds``) from ten seconds on."""
    if type in types.timed:
        seconds = (metadata or {}).get("seconds")
        return isinstance(seconds, int | float) and seconds >= DWELL_SECONDS
    return type not in types.impressions


REQUEST = """
INSERT INTO feed.refresh_queue AS q (user_id, requested_at)
SELECT user_id, now() FROM unnest(%s::text[]) AS user_id
WHERE NOT EXISTS (SELECT FROM feed.erasures AS e
                  WHERE e.id_sha256 = sha256(convert_to(user_id, 'UTF8')))
   OR EXISTS (SELECT FROM feed.users AS u WHERE u.id = user_id)
ON CONFLICT (user_id) DO UPDATE SET requested_at = excluded.requested_at
WHERE q.requested_at IS NULL
"""


async def request(conn: psycopg.AsyncConnection[Any], user_ids: Collection[str]) -> None:
    """Have the lists of these users made anew, soon. The caller commits.

    For those who wait already this writes nothing, so a signal costs one look into an index. Who
    was erased, and is not there again, does not come in: their events may be of the time before.
    """
    if ids := _in_order(user_ids):
        await conn.execute(REQUEST, (ids,))


def request_now(conn: psycopg.Connection, user_ids: Collection[str]) -> None:
    """``request`` on a connection that is not asynchronous."""
    if ids := _in_order(user_ids):
        conn.execute(REQUEST, (ids,))


_DUE = """
(requested_at IS NOT NULL AND taken_at IS NULL
    AND (not_before <= clock_timestamp() OR not_before > clock_timestamp() + %(interval)s)
 OR taken_at NOT BETWEEN clock_timestamp() - %(lease)s AND clock_timestamp() + %(lease)s)
"""
"""Times further ahead than any wait are of a clock that was set back."""


def due(conn: psycopg.Connection, interval: timedelta) -> int:
    """How many users could be taken now; ``interval`` as for ``done``."""
    row = conn.execute(
        f"SELECT count(*) FROM feed.refresh_queue WHERE {_DUE}",
        {"lease": LEASE, "interval": interval},
    ).fetchone()
    assert row is not None
    return row[0]


def take(conn: psycopg.Connection, n: int, interval: timedelta) -> Taken:
    """At most ``n`` users who are due, the longest waiting first. Commit, then make their lists.
    ``interval`` as for ``done``.

    Takers do not wait for each other: what one looks at, the next passes over.
    """
    rows = conn.execute(
        f"""
        WITH mine AS MATERIALIZED (
            SELECT user_id FROM feed.refresh_queue WHERE {_DUE}
            ORDER BY not_before, user_id LIMIT %(n)s FOR UPDATE SKIP LOCKED
        ), moment AS MATERIALIZED (SELECT clock_timestamp() AS at)
        UPDATE feed.refresh_queue AS q SET taken_at = moment.at, requested_at = NULL
        FROM mine, moment WHERE q.user_id = mine.user_id
        RETURNING q.user_id, q.taken_at
        """,
        {"lease": LEASE, "n": n, "interval": interval},
    ).fetchall()
    if not rows:
        return Taken([], datetime.min)
    return Taken(sorted(user_id for user_id, _ in rows), rows[0][1])


def done(conn: psycopg.Connection, taken: Taken, interval: timedelta) -> None:
    """Their lists are made; each may be taken again ``interval`` after now. The caller commits.

    Users whom another took meanwhile, because our lease was over, stay theirs.
    """
    conn.execute(
        "UPDATE feed.refresh_queue SET taken_at = NULL, not_before = clock_timestamp() + %s"
        " WHERE user_id = ANY(%s) AND taken_at = %s",
        (interval, taken.users, taken.at),
    )


def forget(conn: psycopg.Connection) -> int:
    """Delete the entries of users whose interval is over and who want nothing; returns how
    many. The caller commits."""
    return conn.execute(
        "DELETE FROM feed.refresh_queue WHERE requested_at IS NULL AND taken_at IS NULL"
        " AND not_before <= clock_timestamp()"
    ).rowcount


def _in_order(user_ids: Collection[str]) -> Sequence[str]:
    """Each once, in order: two that ask for the same users then never wait for each other."""
    return sorted(set(user_ids))
