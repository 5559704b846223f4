"""What is counted of interactions, in SQL: engagement and trending; lines of the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg.types.json import Jsonb

from models.profile.interaction_types import DEFAULT_TYPES, Count, InteractionTypes

COUNTED: dict[str, Count] = {
    "impressions": "impression",
    "views": "view",
    "clicks": "click",
    "likes": "like",
    "saves": "save",
    "shares": "share",
    "applies": "conversion",
    "dismisses": "dismiss",
}


def refresh_engagement(
    conn: psycopg.Connection,
    windows: Sequence[int],
    weights: Mapping[str, float],
    types: InteractionTypes = DEFAULT_TYPES,
) -> int:
    """Count the interactions of each item over windows (hours) that end now.

    The score is ``log1p(max(weighted, 0))``, scaled to [0, 1] within its window. Cost follows
    the interactions in the longest window. Returns the rows written.
    """
    counts = ", ".join(
        f"count(*) FILTER (WHERE type = ANY(%({name})s)) AS {name}" for name in COUNTED
    )
    names = ", ".join(COUNTED)
    with conn.transaction():
        # Two refreshes come one after the other: else the second would insert keys that are there.
        conn.execute("LOCK TABLE feed.engagement_metrics IN SHARE ROW EXCLUSIVE MODE")
        conn.execute(
            "DELETE FROM feed.engagement_metrics WHERE window_hours = ANY(%s)", (list(windows),)
        )
        return conn.execute(
            f"""
            WITH weight AS (
                SELECT * FROM unnest(%(types)s::text[], %(weights)s::float8[]) AS w(type, weight)),
            counted AS (
                SELECT item_id, window_hours, {counts},
                       ln(1 + greatest(coalesce(sum(weight), 0), 0)) AS score
                FROM unnest(%(windows)s::int[]) AS window_hours
                JOIN feed.interactions ON occurred_at > now() - window_hours * interval '1 hour'
                                      AND occurred_at <= now()
                LEFT JOIN weight USING (type)
                WHERE item_id IS NOT NULL
                GROUP BY item_id, window_hours)
            INSERT INTO feed.engagement_metrics (item_id, window_hours, {names}, score)
            SELECT item_id, window_hours, {names},
                   coalesce(score / nullif(max(score) OVER (PARTITION BY window_hours), 0), 0)
            FROM counted
            """,
            {
                "types": list(weights),
                "weights": list(weights.values()),
                "windows": list(windows),
                **{name: types.counted_as(count) for name, count in COUNTED.items()},
            },
        ).rowcount


def refresh_trending(conn: psycopg.Connection) -> int:
    """Refresh ``feed.trending_items`` while readers go on; returns its rows."""
    conn.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY feed.trending_items")
    row = conn.execute("SELECT count(*) FROM feed.trending_items").fetchone()
    return row[0] if row else 0


def write_audit(
    conn: psycopg.Connection, actor: str, action: str, detail: Mapping[str, object]
) -> None:
    """Add a line to ``feed.audit_log``."""
    conn.execute(
        "INSERT INTO feed.audit_log (actor, action, detail) VALUES (%s, %s, %s)",
        (actor, action, Jsonb(dict(detail))),
    )
