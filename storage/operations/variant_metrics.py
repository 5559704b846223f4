"""What came of what users were shown, by variant, arm and hour: the counts of ``variant_counts``.

What is read are ``Moments``: sums over users, which is where chance is. An anonymous visitor has no
name to add up by, so there each hour counts as one user: too few rather than too many, and
intervals are wide rather than wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import psycopg

from models.experiments.guardrails import METRICS
from models.experiments.sequential import Moments
from storage.operations.variant_counts import day_of, hour_of


@dataclass(frozen=True)
class Totals:
    """What was shown under one label, and what came of it.

    Attributes:
        users: how many, each hour of anonymous ones as one.
        applies: of ``ripe_clicks``: those for which the time to convert has passed. Others
            may still convert, and would be held against what went live today.
        moments: by metric of ``models.experiments.guardrails.METRICS``.
    """

    users: int
    impressions: int
    clicks: int
    ripe_clicks: int
    applies: int
    dwell_seconds: float
    saves: int
    dismisses: int
    moments: Mapping[str, Moments]

    def __add__(self, other: Totals) -> Totals:
        """Of what is shown to different users; who is in both counts twice."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        both = {name: self.moments[name] + other.moments[name] for name in METRICS}
        return Totals(**sums, moments=both)


_NUMBERS = (
    "users", "impressions", "clicks", "ripe_clicks", "applies", "dwell_seconds", "saves",
    "dismisses",
)  # fmt: skip
_BY_LOT = """
    experiment = %(experiment)s AND NOT EXISTS (
        SELECT FROM feed.experiment_assignments AS a
        WHERE a.experiment_id = %(experiment)s AND a.user_id = variant_hours.user_id)
"""
NOTHING = Totals(0, 0, 0, 0, 0, 0.0, 0, 0, dict.fromkeys(METRICS, Moments()))


def by_version(
    conn: psycopg.Connection, start: datetime, end: datetime, *, conversion_hours: float
) -> dict[tuple[str, str], Totals]:
    """By variant and model version ('' for none), of the hours that begin in ``[start, end)``,
    the hour of ``start`` included. Reads the rows of those hours."""
    totals_of = _totals(
        conn, ("variant", "model_version"), "experiment = ''", start, end, conversion_hours, {}
    )
    return {(variant, version): totals for (variant, version), totals in totals_of}


def by_arm(
    conn: psycopg.Connection,
    experiment: str,
    start: datetime,
    end: datetime,
    *,
    conversion_hours: float,
) -> dict[str, Totals]:
    """By arm of an experiment, whatever ranked in the end (intention to treat), without users who
    were given their arm by hand: no lot chose them. As ``by_version``. An arm that nobody saw is
    not there."""
    totals_of = _totals(
        conn, ("arm",), _BY_LOT, start, end, conversion_hours, {"experiment": experiment}
    )
    return {arm: totals for (arm,), totals in totals_of}


def _totals(
    conn: psycopg.Connection,
    labels: Sequence[str],
    where: str,
    start: datetime,
    end: datetime,
    conversion_hours: float,
    parameters: Mapping[str, Any],
) -> list[tuple[tuple[str, ...], Totals]]:
    by = ", ".join(labels)
    moments = ", ".join(
        f"count(*) FILTER (WHERE {y} > 0), sum({x}), sum({y}),"
        f" sum({x} * {x}), sum({y} * {y}), sum({x} * {y})"
        for x, y in ((metric.numerator, metric.denominator) for metric in METRICS.values())
    )
    rows = conn.execute(
        f"""
        WITH units AS (
            SELECT {by},
                   sum(impressions)::float8 AS impressions,
                   sum(clicks)::float8 AS clicks,
                   coalesce(sum(clicks) FILTER (WHERE ripe), 0)::float8 AS ripe_clicks,
                   coalesce(sum(applies) FILTER (WHERE ripe), 0)::float8 AS applies,
                   sum(dwell_seconds) AS dwell_seconds,
                   sum(saves)::float8 AS saves,
                   sum(dismisses)::float8 AS dismisses
            FROM (SELECT *, last_click_at + %(hours)s * interval '1 hour' <= %(end)s AS ripe
                  FROM feed.variant_hours
                  WHERE hour >= %(start)s AND hour < %(end)s AND {where}) AS v
            GROUP BY {by}, user_id, CASE WHEN user_id = '' THEN hour END)
        SELECT {by}, count(*), sum(impressions)::bigint, sum(clicks)::bigint,
               sum(ripe_clicks)::bigint, sum(applies)::bigint, sum(dwell_seconds),
               sum(saves)::bigint, sum(dismisses)::bigint, {moments}
        FROM units GROUP BY {by} ORDER BY {by}
        """,
        {"start": hour_of(start), "end": end, "hours": conversion_hours, **parameters},
    ).fetchall()
    totals = []
    for row in rows:
        label, numbers = row[: len(labels)], dict(zip(_NUMBERS, row[len(labels) :], strict=False))
        sums = iter(row[len(labels) + len(_NUMBERS) :])
        by_metric = {name: Moments(*islice(sums, 6)) for name in METRICS}
        totals.append((label, Totals(**numbers, moments=by_metric)))
    return totals


def by_time(
    conn: psycopg.Connection, start: datetime, end: datetime
) -> list[tuple[datetime, str, int, int]]:
    """Start of each hour, or of each UTC day where there are more than two, with a variant, its
    impressions and its clicks."""
    step = "hour" if end - start <= timedelta(days=2) else "day"
    return conn.execute(
        f"SELECT date_trunc('{step}', hour, 'UTC'), variant, sum(impressions)::bigint,"
        " sum(clicks)::bigint FROM feed.variant_hours"
        " WHERE experiment = '' AND hour >= %s AND hour < %s GROUP BY 1, 2 ORDER BY 1, 2",
        (hour_of(start), end),
    ).fetchall()


def coverage(
    conn: psycopg.Connection, start: datetime, end: datetime, *, exclude_started: bool
) -> tuple[int, dict[tuple[str, str] | None, int]]:
    """Items that may be shown to somebody at ``end``, and how many of them were shown since the
    UTC day of ``start``: by variant and model version, and under None by any.

    Places that are left are not looked at: what is full is rare, and known to workers only.
    """
    may = (
        "status = 'published' AND coalesce(publish_at <= %(end)s, true)"
        " AND (NOT %(exclude_started)s OR coalesce(starts_at > %(end)s, true))"
    )
    given = {"first": day_of(start).date(), "end": end, "exclude_started": exclude_started}
    row = conn.execute(f"SELECT count(*) FROM feed.items WHERE {may}", given).fetchone()
    assert row is not None
    rows = conn.execute(
        f"""
        SELECT grouping(variant) = 1, variant, model_version, count(DISTINCT item_id)
        FROM feed.variant_items JOIN feed.items ON id = item_id
        WHERE day >= %(first)s AND day <= (%(end)s AT TIME ZONE 'UTC')::date AND {may}
        GROUP BY GROUPING SETS ((variant, model_version), ())
        """,
        given,
    )
    return row[0], {
        None if of_all else (variant, version): shown for of_all, variant, version, shown in rows
    }
