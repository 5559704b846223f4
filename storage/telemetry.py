"""What is counted of interactions, in SQL: engagement, trending, and rates by variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.types.json import Jsonb

from models.profile import InteractionType

COUNTED = {
    "impressions": "impression",
    "views": "view",
    "clicks": "click",
    "likes": "like",
    "saves": "save",
    "shares": "share",
    "applies": "apply",
    "dismisses": "dismiss",
}


def refresh_engagement(
    conn: psycopg.Connection, windows: Sequence[int], weights: Mapping[InteractionType, float]
) -> int:
    """Count the interactions of each item over windows (hours) that end now.

    The score is ``log1p(max(weighted, 0))``, scaled to [0, 1] within its window. Cost follows
    the interactions in the longest window. Returns the rows written.
    """
    counts = ", ".join(
        f"count(*) FILTER (WHERE type = '{type}') AS {name}" for name, type in COUNTED.items()
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
            {"types": list(weights), "weights": list(weights.values()), "windows": list(windows)},
        ).rowcount


def refresh_trending(conn: psycopg.Connection) -> int:
    """Refresh ``feed.trending_items`` while readers go on; returns its rows."""
    conn.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY feed.trending_items")
    row = conn.execute("SELECT count(*) FROM feed.trending_items").fetchone()
    return row[0] if row else 0


@dataclass(frozen=True)
class VariantRates:
    """What one variant and model version showed, and what came of it.

    ``ctr`` is clicks / impressions; ``conversion`` is applies / ripe clicks. A click is ripe
    once all the time to convert has passed: or a version that went live today would be held
    against one whose clicks had days. ``applies`` counts the ripe clicks that the same user
    followed by an ``apply`` on the same item. None where there is nothing to divide by.
    """

    variant: str
    model_version: str | None
    impressions: int
    clicks: int
    applies: int
    ripe_clicks: int

    @property
    def ctr(self) -> float | None:
        return self.clicks / self.impressions if self.impressions else None

    @property
    def conversion(self) -> float | None:
        return self.applies / self.ripe_clicks if self.ripe_clicks else None


def variant_rates(
    conn: psycopg.Connection, start: datetime, end: datetime, conversion_hours: float
) -> list[VariantRates]:
    """Rates by variant and model version, from what trackers put in ``metadata``.

    Impressions and clicks with ``start <= occurred_at < end`` belong to the variant in their
    own metadata (``unknown`` without one); an apply counts when it came within
    ``conversion_hours`` after that user's click on the item.
    """
    rows = conn.execute(
        """
        WITH shown AS (
            SELECT user_id, item_id, type, occurred_at,
                   type = 'click' AND occurred_at + %(hours)s * interval '1 hour' <= %(end)s
                       AS ripe,
                   coalesce(metadata->>'variant', 'unknown') AS variant,
                   metadata->>'model_version' AS model_version
            FROM feed.interactions
            WHERE occurred_at >= %(start)s AND occurred_at < %(end)s
              AND type IN ('impression', 'click'))
        SELECT variant, model_version,
               count(*) FILTER (WHERE type = 'impression'),
               count(*) FILTER (WHERE type = 'click'),
               count(*) FILTER (WHERE ripe AND EXISTS (
                   SELECT FROM feed.interactions a
                   WHERE a.type = 'apply' AND a.user_id = shown.user_id
                     AND a.item_id = shown.item_id
                     AND a.occurred_at BETWEEN shown.occurred_at
                         AND shown.occurred_at + %(hours)s * interval '1 hour')),
               count(*) FILTER (WHERE ripe)
        FROM shown GROUP BY variant, model_version ORDER BY variant, model_version
        """,
        {"start": start, "end": end, "hours": conversion_hours},
    )
    return [VariantRates(*row) for row in rows]


def save_guardrail_report(
    conn: psycopg.Connection,
    rates: VariantRates,
    start: datetime,
    end: datetime,
    status: str,
    detail: Mapping[str, object],
) -> int:
    """Keep one verdict; returns its id."""
    row = conn.execute(
        "INSERT INTO feed.guardrail_reports (window_start, window_end, variant, model_version,"
        " impressions, clicks, applies, ctr, conversion, status, detail)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        (
            start,
            end,
            rates.variant,
            rates.model_version,
            rates.impressions,
            rates.clicks,
            rates.applies,
            rates.ctr,
            rates.conversion,
            status,
            Jsonb(dict(detail)),
        ),
    ).fetchone()
    assert row is not None
    return row[0]


def open_breach(conn: psycopg.Connection, model_version: str) -> int | None:
    """Id of the newest guardrail report if it says that this version hurts, else None."""
    row = conn.execute(
        "SELECT id, status FROM feed.guardrail_reports WHERE model_version = %s"
        " ORDER BY id DESC LIMIT 1",
        (model_version,),
    ).fetchone()
    return row[0] if row and row[1] == "breach" else None


def write_audit(
    conn: psycopg.Connection, actor: str, action: str, detail: Mapping[str, object]
) -> None:
    """Add a line to ``feed.audit_log``."""
    conn.execute(
        "INSERT INTO feed.audit_log (actor, action, detail) VALUES (%s, %s, %s)",
        (actor, action, Jsonb(dict(detail))),
    )
