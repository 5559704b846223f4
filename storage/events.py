"""Events of trackers -> ``feed.interactions``, each once: the SQL of ingest.

A call is one statement and one transaction, so one round trip on an autocommit connection.
Events go in as one JSON array: measured on 1,000 rows that takes as long as COPY of the same
rows, where arrays of psycopg take three times as long and a temporary table half as long again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict

import orjson
import psycopg

from storage.catalogue import SOURCE

Connection = psycopg.AsyncConnection[Any]
Also = Callable[[Connection], Awaitable[None]]
PARTITION_LOCK = 0x70_61_72_74  # key of the advisory lock; "part" in ASCII


class Event(TypedDict):
    """One checked event.

    ``event_id``: 36 lowercase characters. ``occurred_at``: RFC 3339, in UTC.
    ``flagged``: the server gave ``occurred_at``, since the client's cannot be used.
    """

    event_id: str
    user_id: str | None
    item_id: str | None
    type: str
    occurred_at: str
    metadata: dict[str, Any] | None
    flagged: bool


class RefusedEvent(TypedDict):
    """An entry that is no event. ``raw``: its JSON text; ``row_number``: its place, from 1."""

    row_number: int
    reason: str
    raw: str


# The ids are in order, so that two writers with the same events wait for each other, not in a
# circle. An event with a time of its own is stored under (event_id, occurred_at), and a retry
# repeats both. One that the server gave a time is stored if its id is not known at all: whoever
# puts the id in interaction_clocks first, stores it.
_INSERT = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(events)s::json) AS g(event_id uuid, user_id text,
        item_id text, type text, occurred_at timestamptz, metadata jsonb, flagged boolean)
), clocked AS (
    INSERT INTO feed.interaction_clocks (event_id, occurred_at)
    SELECT event_id, occurred_at FROM given
    WHERE flagged
      AND NOT EXISTS (SELECT FROM feed.interactions i WHERE i.event_id = given.event_id)
    ORDER BY event_id ON CONFLICT DO NOTHING RETURNING event_id
), written AS (
    INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at, metadata)
    SELECT event_id, user_id, item_id, type, occurred_at, metadata FROM given
    WHERE CASE WHEN flagged THEN event_id IN (SELECT event_id FROM clocked)
          ELSE NOT EXISTS (SELECT FROM feed.interaction_clocks c
                           WHERE c.event_id = given.event_id) END
    ORDER BY event_id ON CONFLICT DO NOTHING RETURNING event_id
), kept AS (
    INSERT INTO feed.interactions_rejected (entity, source, row_number, reason, raw)
    SELECT 'interactions', '{SOURCE}', row_number, reason, raw
    FROM json_to_recordset(%(refused)s::json) AS r(row_number bigint, reason text, raw text)
    ON CONFLICT (raw_hash, reason) DO NOTHING
)
SELECT event_id::text FROM given WHERE event_id NOT IN (SELECT event_id FROM written)
"""


async def insert(
    connection: Connection,
    events: Sequence[Event],
    refused: Sequence[RefusedEvent] = (),
    also: Also | None = None,
) -> set[str]:
    """Store events of different ids, and keep the refused entries.

    Args:
        also: what else belongs to it, in the same round trip and the same transaction.

    Returns:
        The ids that were there already. What two calls insert at once is new to one of them.

    Raises:
        psycopg.Error: nothing is stored.
    """
    given = {
        "events": orjson.dumps(events).decode(),
        "refused": orjson.dumps(refused).decode(),
    }
    if also is None:
        cursor = await connection.execute(_INSERT, given, prepare=True)
    else:
        async with connection.pipeline():
            cursor = await connection.execute(_INSERT, given, prepare=True)
            await also(connection)
    return {event_id for (event_id,) in await cursor.fetchall()}


def months(events: Iterable[Event]) -> set[str]:
    """The months (``2026-05``, in UTC) of the events."""
    return {event["occurred_at"][:7] for event in events}


async def ensure_partitions(connection: Connection, wanted: Iterable[str]) -> None:
    """Make the partitions of these months (``2026-05``) that are missing.

    A month of which the default partition holds rows gets none: its rows stay together there.
    """
    for month in sorted(wanted):
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        try:
            async with connection.transaction():
                # Two that make the same one come one after the other.
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (PARTITION_LOCK,))
                await connection.execute(
                    "SELECT feed.ensure_interaction_partitions(%s, %s)", (first, first)
                )
        except psycopg.errors.CheckViolation:
            continue


def as_refused(event: Event, reason: str) -> RefusedEvent:
    """An event that Postgres itself does not take, to be kept as refused."""
    raw = {name: value for name, value in event.items() if name != "flagged"}
    return {"row_number": 1, "reason": reason, "raw": orjson.dumps(raw).decode()}
