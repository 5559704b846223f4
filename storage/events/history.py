"""What came in: one user's own events, and what is new of everybody's since the last look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import LiteralString, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import args_row

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes

MOST_NAMES = 32
"""Tags of a search or filter that are looked at."""
OPEN_SECONDS = 60.0
"""What a transaction brings that was open longer than this may not be noticed."""
MARGIN_SECONDS = 5.0
"""A writer may set ``received_at`` itself, a little before its transaction began."""
NEVER = "3:3:"
"""Postgres snapshot before any transaction."""


class EventRow(NamedTuple):
    """An event of one user. ``seconds``: of a timed type; the last three: of one without item."""

    id: bytes
    item_id: str | None
    type: str
    occurred_at: float
    seconds: float | None
    tags: list[str] | None
    category: str | None
    city: str | None


# What metadata holds is the product's: numbers as large as they like, lists of anything.
_NUMBER = (
    "CASE WHEN type = ANY(%(timed)s) AND jsonb_typeof(metadata->'seconds') = 'number'"
    " THEN least(greatest((metadata->'seconds')::numeric, 0), 1e6)::float8 END"
)
_NAMED = "CASE WHEN type = ANY(%(without_item)s) AND jsonb_typeof(metadata->{0}) = {1} THEN {2} END"
_EVENTS = (
    "SELECT uuid_send(event_id), item_id, type, extract(epoch FROM occurred_at)::float8,"
    f" {_NUMBER},"
    + _NAMED.format(
        "'tags'",
        "'array'",
        "ARRAY(SELECT tag FROM jsonb_array_elements_text(metadata->'tags') AS tag"
        f" WHERE tag IS NOT NULL LIMIT {MOST_NAMES})",
    )
    + ", "
    + _NAMED.format("'category'", "'string'", "metadata->>'category'")
    + ", "
    + _NAMED.format("'city'", "'string'", "metadata->>'city'")
    + " FROM feed.interactions"
    " WHERE user_id = %(user)s AND occurred_at >= to_timestamp(%(since)s)"
    " AND occurred_at < now() + interval '10 minutes' AND type <> ALL(%(shown)s)"
    " ORDER BY occurred_at DESC, event_id LIMIT %(most)s"
)


async def events_of(
    conn: AsyncConnection,
    user_id: str,
    since: float,
    limit: int,
    types: InteractionTypes = DEFAULT_TYPES,
) -> list[EventRow]:
    """A user's newest events, without impressions, and without those that claim to be of the
    future.

    Args:
        since: epoch seconds.
    """
    cursor = conn.cursor(row_factory=args_row(EventRow))
    await cursor.execute(
        _EVENTS,
        {
            "user": user_id,
            "since": since,
            "shown": list(types.impressions),
            "timed": list(types.timed),
            "without_item": list(types.without_item),
            "most": limit,
        },
    )
    return await cursor.fetchall()


class ItemCounts(NamedTuple):
    """What was done with an item: counts, the weighted sum, and whether anybody applied or
    took that back."""

    item_id: str
    impressions: int
    clicks: int
    weighted: float
    applied: bool


class Arrived(NamedTuple):
    """
    Attributes:
        position: to go on from.
        user_ids: who did more than to be shown something. One may come again with the next call.
        more_users: there are others.
        oldest_seconds: since the oldest interaction was received that is counted; None: there
            is none.
        items: each interaction is counted by one call at most.
        applied: items that somebody may have applied to, or taken that back.
    """

    position: tuple[str, float]
    user_ids: list[str]
    more_users: bool
    oldest_seconds: float | None
    items: list[ItemCounts]


# Rows carry the transaction that wrote them (xmin, 32 bits of it), so what was committed since
# the last look is what was not visible then. That is exact but for savepoints, whose own ids no
# snapshot lists: users are therefore those of every transaction since the oldest that was running.
_ARRIVED: LiteralString = """
WITH moment AS (
    SELECT pg_current_snapshot() AS seen,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next,
           greatest(
               (SELECT least(now(), min(xact_start)) FROM pg_stat_activity
                WHERE datname = current_database() AND backend_xid IS NOT NULL),
               now() - %(open)s * interval '1 second') - %(margin)s * interval '1 second' AS settled
), stamped AS (
    SELECT user_id, item_id, type, received_at,
           (next - ((next - xmin::text::bigint) & 4294967295))::text::xid8 AS xid
    FROM feed.interactions, moment WHERE received_at >= to_timestamp(%(from)s)
), new AS MATERIALIZED (
    SELECT user_id, item_id, type, received_at,
           NOT pg_visible_in_snapshot(xid, %(seen)s::pg_snapshot) AS first
    FROM stamped WHERE xid >= pg_snapshot_xmin(%(seen)s::pg_snapshot)
)
SELECT 'position', seen::text, 0, 0, extract(epoch FROM settled)::float8, false FROM moment
UNION ALL
SELECT 'oldest', NULL, 0, 0,
       extract(epoch FROM clock_timestamp() - min(received_at))::float8, false
FROM new WHERE first
UNION ALL
SELECT 'user', user_id, 0, 0, 0, false FROM (
    SELECT DISTINCT user_id FROM new
    WHERE type <> ALL(%(shown)s) AND user_id IS NOT NULL LIMIT %(most_users)s + 1) AS users
UNION ALL
SELECT 'item', item_id,
       count(*) FILTER (WHERE first AND type = ANY(%(shown)s)),
       count(*) FILTER (WHERE first AND type = ANY(%(clicked)s)),
       coalesce(sum(weight) FILTER (WHERE first), 0),
       bool_or(type = ANY(%(applying)s))
FROM new
LEFT JOIN unnest(%(types)s::text[], %(weights)s::float8[]) AS w(type, weight) USING (type)
WHERE item_id IS NOT NULL GROUP BY item_id
HAVING bool_or(first) OR bool_or(type = ANY(%(applying)s))
"""


async def arrived(
    conn: AsyncConnection,
    position: tuple[str, float],
    weights: Mapping[str, float],
    types: InteractionTypes = DEFAULT_TYPES,
    *,
    most_users: int = 10_000,
) -> Arrived:
    """What was committed since a position. Cost follows what was received since.

    Missed are interactions of a transaction that was open for longer than ``OPEN_SECONDS``, or
    that set ``received_at`` back by more than ``MARGIN_SECONDS``; of the counts, also those that a
    savepoint wrote while another look was taken.

    Args:
        position: of the last call; ``(NEVER, seconds)``: all that was received since then.
        weights: of the types, for the weighted sums.
    """
    cursor = await conn.execute(
        _ARRIVED,
        {
            "seen": position[0],
            "from": position[1],
            "open": OPEN_SECONDS,
            "margin": MARGIN_SECONDS,
            "most_users": most_users,
            "types": list(weights),
            "weights": list(weights.values()),
            "shown": list(types.impressions),
            "clicked": types.counted_as("click"),
            "applying": list(frozenset().union(*types.of_applied)),
        },
    )
    rows = await cursor.fetchall()
    users = [text for kind, text, *_ in rows if kind == "user"]
    (moment,) = (row for row in rows if row[0] == "position")
    (oldest,) = (row for row in rows if row[0] == "oldest")
    return Arrived(
        position=(moment[1], float(moment[4])),
        user_ids=users[:most_users],
        more_users=len(users) > most_users,
        oldest_seconds=None if oldest[4] is None else max(float(oldest[4]), 0.0),
        items=[ItemCounts(*counts) for kind, *counts in rows if kind == "item"],
    )


async def applied_counts(
    conn: AsyncConnection, item_ids: Sequence[str], types: InteractionTypes = DEFAULT_TYPES
) -> dict[str, int]:
    """How many users have applied to each item, by their last word: ``last_words`` in SQL.
    Of what Postgres keeps; cost follows the interactions with those items."""
    does, undoes = types.of_applied
    cursor = await conn.execute(
        """
        SELECT item_id, count(*) FILTER (WHERE applied > coalesce(unapplied, '-infinity'))
        FROM (SELECT item_id, max(occurred_at) FILTER (WHERE type = ANY(%(does)s)) AS applied,
                     max(occurred_at) FILTER (WHERE type = ANY(%(undoes)s)) AS unapplied
              FROM feed.interactions
              WHERE item_id = ANY(%(items)s) AND type = ANY(%(does)s::text[] || %(undoes)s::text[])
                AND user_id IS NOT NULL
              GROUP BY item_id, user_id) AS pairs
        GROUP BY item_id
        """,
        {"items": list(item_ids), "does": list(does), "undoes": list(undoes)},
    )
    return dict(await cursor.fetchall())


async def weighted_sum(conn: AsyncConnection, item_id: str, weights: Mapping[str, float]) -> float:
    """The weights of all interactions with an item, summed."""
    cursor = await conn.execute(
        "SELECT coalesce(sum(weight), 0) FROM feed.interactions"
        " JOIN unnest(%s::text[], %s::float8[]) AS w(type, weight) USING (type)"
        " WHERE item_id = %s",
        (list(weights), list(weights.values()), item_id),
    )
    row = await cursor.fetchone()
    return float(row[0]) if row else 0.0
