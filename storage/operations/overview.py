"""Experiments, withdrawn versions and alerts in numbers, for metrics: one cheap question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import args_row


class Overview(NamedTuple):
    """
    Attributes:
        experiments: number by status, of one environment.
        withdrawn: versions that nothing may serve.
        rollbacks_pending: of these, those that an alias may still name.
        alerts_waiting: alerts that are to be delivered.
        alerts_waiting_seconds: age of the oldest of them.
        alerts_given_up: alerts of the last day that the receiver never took.
    """

    experiments: Mapping[str, int]
    withdrawn: int
    rollbacks_pending: int
    alerts_waiting: int
    alerts_waiting_seconds: float
    alerts_given_up: int


_OVERVIEW: LiteralString = """
SELECT (SELECT coalesce(jsonb_object_agg(status, number), '{}') FROM (
            SELECT status, count(*) AS number FROM feed.experiments
            WHERE environment IS NULL OR environment = %s GROUP BY status) AS counted),
       (SELECT count(*) FROM feed.withdrawn_versions),
       (SELECT count(*) FROM feed.withdrawn_versions WHERE done_at IS NULL),
       count(*) FILTER (WHERE given_up_at IS NULL),
       coalesce(extract(epoch FROM now() - min(raised_at) FILTER (WHERE given_up_at IS NULL)),
                0)::float8,
       count(*) FILTER (WHERE attempts > 0 AND given_up_at > now() - interval '1 day')
FROM feed.alerts
WHERE delivered_at IS NULL AND (given_up_at IS NULL OR raised_at > now() - interval '3 days')
"""


async def overview(conn: AsyncConnection[Any], environment: str) -> Overview:
    """The numbers now."""
    cursor = conn.cursor(row_factory=args_row(Overview))
    await cursor.execute(_OVERVIEW, (environment,))
    row = await cursor.fetchone()
    assert row is not None
    return row
