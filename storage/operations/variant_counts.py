"""What users did with what they were shown: counted by user, hour, variant and arm.

``count_new`` keeps ``feed.variant_hours`` and ``feed.variant_items`` up to date. It never adds to
a count: the hours of users that got new events are counted anew as a whole, so what comes late,
twice or in another order cannot matter. With n events received since the last run, of which a
touch hours of users, and e events in those hours, a run takes O(n log N + e log N) of N
interactions; of items the impressions of their whole day are counted, which is at most those of
the days that something came for. Anonymous events are one user, whose hour is counted whole.
``variant_metrics`` reads the counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from models.profile.interaction_types import DEFAULT_TYPES, Count, InteractionTypes
from storage.postgres.settled import settled_until

LOCK = 0x76_61_72_73  # key of the advisory lock; "vars" in ASCII
OVERLAP = timedelta(minutes=5)
"""What was received so long before the last run is looked at again: ``settled_until`` may not know
of transactions of other roles."""
SINCE = "variant_hours since"
EVER = datetime.min.replace(tzinfo=UTC)
LONGEST_DWELL = 1800
"""Seconds that one dwell counts at most: a page that was left open says no more."""
COUNTED: tuple[Count, ...] = ("impression", "click", "save", "dismiss")
"""What is counted beside conversions and seconds."""
LONGEST_NAME = 64
"""Characters of a variant, version or arm that are kept: trackers are public."""


@dataclass(frozen=True)
class Counted:
    """What one run did.

    Attributes:
        since: what occurred before is not counted at all.
        events: that were looked at.
        hours: of users that were counted anew.
        items: days of items that were counted anew.
    """

    since: datetime
    events: int
    hours: int
    items: int


_TOUCHED = """
CREATE TEMP TABLE came (user_id text, item_id text, type text, occurred_at timestamptz)
    ON COMMIT DROP;
CREATE TEMP TABLE touched_hours (hour timestamptz, user_id text) ON COMMIT DROP;
CREATE TEMP TABLE touched_items (day date, item_id text) ON COMMIT DROP;
"""
_CAME = """
INSERT INTO came SELECT user_id, item_id, type, occurred_at FROM feed.interactions
WHERE received_at >= %(after)s AND occurred_at >= %(since)s AND occurred_at < '9999-01-01Z'
  AND type = ANY(%(came)s)
"""
# A conversion counts with the click before it, and so in the click's hour.
_HOURS = """
INSERT INTO touched_hours
SELECT date_trunc('hour', occurred_at, 'UTC'), coalesce(user_id, '') FROM came
WHERE type <> ALL(%(conversion)s)
UNION
SELECT date_trunc('hour', c.occurred_at, 'UTC'), c.user_id
FROM came AS a JOIN feed.interactions AS c
  ON c.user_id = a.user_id AND c.item_id = a.item_id AND c.type = ANY(%(click)s)
 AND c.occurred_at >= a.occurred_at - %(hours)s * interval '1 hour'
 AND c.occurred_at <= a.occurred_at AND c.occurred_at >= %(since)s
WHERE a.type = ANY(%(conversion)s)
"""
_ITEMS = """
INSERT INTO touched_items
SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date, item_id FROM came
WHERE type = ANY(%(impression)s) AND item_id IS NOT NULL
"""
_FORGET_HOURS = """
DELETE FROM feed.variant_hours AS v USING touched_hours AS t
WHERE v.hour = t.hour AND v.user_id = t.user_id
"""
_FORGET_ITEMS = """
DELETE FROM feed.variant_items AS v USING touched_items AS t
WHERE v.day = t.day AND v.item_id = t.item_id
"""
_SHOWN_BY = f"""
    left(coalesce(nullif(metadata->>'variant', ''), 'unknown'), {LONGEST_NAME}) AS variant,
    left(coalesce(metadata->>'model_version', ''), {LONGEST_NAME}) AS model_version
"""
# The hour is named twice: as a range, for the index, and as a key, for a hash join.
_OF_HOUR = """
    i.occurred_at >= t.hour AND i.occurred_at < t.hour + interval '1 hour'
    AND date_trunc('hour', i.occurred_at, 'UTC') = t.hour
    AND i.occurred_at >= (SELECT min(hour) FROM touched_hours)
    AND i.occurred_at < (SELECT max(hour) FROM touched_hours) + interval '1 hour'
    AND i.type = ANY(%(counted)s)
"""
# Trackers are public: only experiments that exist make rows.
_COUNT_HOURS = f"""
WITH did AS (
    SELECT t.hour, t.user_id, i.item_id, i.type, i.occurred_at, i.metadata
    FROM touched_hours AS t JOIN feed.interactions AS i ON i.user_id = t.user_id AND {_OF_HOUR}
    WHERE t.user_id <> ''
    UNION ALL
    SELECT t.hour, '', i.item_id, i.type, i.occurred_at, i.metadata
    FROM touched_hours AS t JOIN feed.interactions AS i ON i.user_id IS NULL AND {_OF_HOUR}
    WHERE t.user_id = ''
), known AS (
    SELECT hour, user_id, type, occurred_at, metadata->'experiments' AS experiments, {_SHOWN_BY},
           CASE WHEN type = ANY(%(timed)s) AND jsonb_typeof(metadata->'seconds') = 'number'
                THEN greatest(least((metadata->>'seconds')::numeric, {LONGEST_DWELL}), 0)
           END AS seconds,
           type = ANY(%(click)s) AND user_id <> '' AND EXISTS (
               SELECT FROM feed.interactions AS a
               WHERE a.type = ANY(%(conversion)s)
                 AND a.user_id = did.user_id AND a.item_id = did.item_id
                 AND a.occurred_at BETWEEN did.occurred_at
                     AND did.occurred_at + %(hours)s * interval '1 hour') AS converted
    FROM did
)
INSERT INTO feed.variant_hours (hour, user_id, experiment, arm, variant, model_version,
    impressions, clicks, applies, last_click_at, dwells, dwell_seconds, saves, dismisses)
SELECT hour, user_id, experiment, arm, variant, model_version,
       count(*) FILTER (WHERE type = ANY(%(impression)s)),
       count(*) FILTER (WHERE type = ANY(%(click)s)),
       count(*) FILTER (WHERE converted),
       max(occurred_at) FILTER (WHERE type = ANY(%(click)s)),
       count(seconds),
       coalesce(sum(seconds), 0),
       count(*) FILTER (WHERE type = ANY(%(save)s)),
       count(*) FILTER (WHERE type = ANY(%(dismiss)s))
FROM known CROSS JOIN LATERAL (
    SELECT '' AS experiment, '' AS arm
    UNION ALL
    SELECT x.id, left(experiments->>x.id, {LONGEST_NAME}) FROM feed.experiments AS x
    WHERE experiments->>x.id IS NOT NULL
) AS of_experiment
GROUP BY hour, user_id, experiment, arm, variant, model_version
"""
_COUNT_ITEMS = f"""
INSERT INTO feed.variant_items (day, variant, model_version, item_id, impressions)
SELECT day, variant, model_version, item_id, count(*)
FROM (
    SELECT t.day, t.item_id, {_SHOWN_BY}
    FROM touched_items AS t JOIN feed.interactions AS i
      ON i.item_id = t.item_id AND i.type = ANY(%(impression)s)
     AND i.occurred_at >= t.day AT TIME ZONE 'UTC'
     AND i.occurred_at < (t.day + 1) AT TIME ZONE 'UTC'
     AND (i.occurred_at AT TIME ZONE 'UTC')::date = t.day
     AND i.occurred_at >= (SELECT min(day) FROM touched_items) AT TIME ZONE 'UTC'
     AND i.occurred_at < (SELECT max(day) + 1 FROM touched_items) AT TIME ZONE 'UTC'
) AS shown
GROUP BY day, variant, model_version, item_id
"""


def count_new(
    conn: psycopg.Connection,
    types: InteractionTypes = DEFAULT_TYPES,
    *,
    conversion_hours: float,
    days: int,
    now: datetime,
) -> Counted:
    """Count what was received since the last run. Two at once come one after the other.

    The first run, and the first with other ``conversion_hours`` or types, counts everything that
    occurred in the last ``days``, or since when it was counted before.

    Args:
        conversion_hours: a conversion counts if it follows the same user's click on the same item
            within so many.

    Raises:
        psycopg.Error: nothing has changed.
    """
    received = f"variant_hours received, {conversion_hours:g} h to convert{_of_own(types)}"
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        settled = settled_until(conn)
        counted: dict[str, datetime] = dict(
            conn.execute("SELECT name, at FROM feed.watermarks").fetchall()
        )
        since = counted.get(SINCE) or day_of(now - timedelta(days=days))
        conn.execute(_TOUCHED)
        given: dict[str, Any] = {
            "after": counted[received] - OVERLAP if received in counted else EVER,
            "since": since,
            "hours": conversion_hours,
            "came": [*types.counted_as(*COUNTED, "conversion"), *types.timed],
            "counted": [*types.counted_as(*COUNTED), *types.timed],
            "timed": list(types.timed),
            **{name: types.counted_as(name) for name in (*COUNTED, "conversion")},
        }
        events = conn.execute(_CAME, given).rowcount
        conn.execute("ANALYZE came")
        hours = conn.execute(_HOURS, given).rowcount
        items = conn.execute(_ITEMS, given).rowcount
        conn.execute("ANALYZE touched_hours, touched_items")
        conn.execute(_FORGET_HOURS)
        conn.execute(_COUNT_HOURS, given)
        conn.execute(_FORGET_ITEMS)
        conn.execute(_COUNT_ITEMS, given)
        conn.execute("DROP TABLE came, touched_hours, touched_items")
        conn.execute("DELETE FROM feed.watermarks WHERE name LIKE 'variant_hours received%'")
        conn.execute(
            "INSERT INTO feed.watermarks VALUES (%s, %s), (%s, %s) ON CONFLICT DO NOTHING",
            (SINCE, since, received, settled),
        )
    return Counted(since, events, hours, items)


def _of_own(types: InteractionTypes) -> str:
    """What counts otherwise than with the defaults."""

    def said(all: InteractionTypes) -> list[str]:
        every = ((name, all[name]) for name in all.names)
        return [
            f", {name} as {kind.counts_as}{' timed' * kind.timed}"
            for name, kind in every
            if kind.counts_as or kind.timed
        ]

    usual = said(DEFAULT_TYPES)
    return "".join(kind for kind in said(types) if kind not in usual)


def counted(conn: psycopg.Connection) -> tuple[datetime, datetime] | None:
    """From when on events are counted, and until when those that were received; None: none."""
    row = conn.execute(
        "SELECT min(at), max(at) FROM feed.watermarks WHERE name LIKE 'variant_hours%'"
    ).fetchone()
    assert row is not None
    return None if row[0] is None else row


def hour_of(at: datetime) -> datetime:
    """The start of its UTC hour."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(at: datetime) -> datetime:
    """The start of its UTC day."""
    return hour_of(at).replace(hour=0)
