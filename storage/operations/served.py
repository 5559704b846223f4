"""What was served, by the minute: how many pages, by what, how fast. Kept for 30 days."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, Self

import psycopg

BOUNDS = (
    0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5,
)  # fmt: skip
"""Upper bounds of the buckets of latency, in seconds; one more bucket has what is slower. They are
part of what is stored: never change them, only by a migration that empties the table."""
BUCKETS = len(BOUNDS) + 1
KEPT_DAYS = 30

SAVE: LiteralString = """
INSERT INTO feed.served_minutes AS kept
       (minute, variant, model_version, fallback_reason, requests, seconds, buckets)
SELECT to_timestamp(minute), variant, model_version, fallback_reason, requests, seconds, buckets
FROM jsonb_to_recordset(%s) AS new(
    minute bigint, variant text, model_version text, fallback_reason text,
    requests bigint, seconds float8, buckets bigint[])
-- In one order, or two workers would wait for each other.
ORDER BY 1, 2, 3, 4
ON CONFLICT (minute, variant, model_version, fallback_reason) DO UPDATE SET
    requests = kept.requests + EXCLUDED.requests,
    seconds = kept.seconds + EXCLUDED.seconds,
    buckets = ARRAY(SELECT coalesce(a, 0) + coalesce(b, 0)
                    FROM unnest(kept.buckets, EXCLUDED.buckets) WITH ORDINALITY AS pair(a, b, place)
                    ORDER BY place)
"""
"""Adds rows of the shape of ``Minute`` (as JSON) to what is there, elementwise."""

_COLUMNS = (
    "sum(requests)::bigint AS requests, sum(seconds) AS seconds, ARRAY["
    + ", ".join(f"coalesce(sum(buckets[{index}]), 0)::bigint" for index in range(1, BUCKETS + 1))
    + "] AS buckets"
)
_WITHIN = "FROM feed.served_minutes WHERE minute >= %(start)s AND minute < %(end)s"
TOTALS: LiteralString = (
    f"SELECT variant, model_version, fallback_reason, {_COLUMNS} {_WITHIN}"
    " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
)
"""Rows for ``served_of``; parameters ``start`` and ``end``."""
SERIES: LiteralString = (
    "SELECT date_trunc(%(step)s, minute, 'UTC') AS start, variant, model_version,"
    f" fallback_reason, {_COLUMNS} {_WITHIN} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
)
"""Rows for ``series_of``; also ``step``: ``minute``, ``hour`` or ``day``."""


@dataclass(frozen=True)
class Latency:
    """Pages and how long they took.

    Attributes:
        requests, seconds: number, and the time of all of them together.
        buckets: pages by latency, ``BUCKETS`` numbers; see ``BOUNDS``.
    """

    requests: int = 0
    seconds: float = 0.0
    buckets: tuple[int, ...] = (0,) * BUCKETS

    @classmethod
    def sum(cls, parts: Iterable[Latency]) -> Self:
        parts = list(parts)
        return cls(
            sum(part.requests for part in parts),
            sum(part.seconds for part in parts),
            tuple(map(sum, zip((0,) * BUCKETS, *(part.buckets for part in parts), strict=True))),
        )

    def quantile(self, share: float) -> float | None:
        """Seconds that ``share`` of the pages did not exceed; None: there are none.

        Within a bucket pages are taken to lie evenly, as Prometheus does; what is slower than the
        last bound counts as that bound.
        """
        if not self.requests:
            return None
        wanted, below = share * sum(self.buckets), 0.0
        for index, count in enumerate(self.buckets[:-1]):
            if count and below + count >= wanted:
                lower = BOUNDS[index - 1] if index else 0.0
                return lower + (BOUNDS[index] - lower) * (wanted - below) / count
            below += count
        return BOUNDS[-1]

    def as_json(self) -> dict[str, float | int | None]:
        """requests, p50_ms, p99_ms."""
        p50, p99 = self.quantile(0.5), self.quantile(0.99)
        return {
            "requests": self.requests,
            "p50_ms": None if p50 is None else round(p50 * 1000, 3),
            "p99_ms": None if p99 is None else round(p99 * 1000, 3),
        }


@dataclass(frozen=True)
class Served:
    """What one way of ranking served.

    Attributes:
        model_version: None where no version ranked.
        fallback_reason: None where the wanted version ranked, or another way was asked for.
    """

    variant: str
    model_version: str | None
    fallback_reason: str | None
    latency: Latency


def bucket_of(seconds: float) -> int:
    """Place of a latency in ``buckets``."""
    return bisect_left(BOUNDS, seconds)


def served_of(rows: Iterable[Sequence[Any]]) -> list[Served]:
    """What the rows of ``TOTALS`` say."""
    return [
        Served(variant, version or None, reason or None, Latency(count, seconds, tuple(buckets)))
        for variant, version, reason, count, seconds, buckets in rows
    ]


def series_of(rows: Iterable[Sequence[Any]]) -> list[tuple[datetime, Served]]:
    """What the rows of ``SERIES`` say."""
    return [(start, *served_of([rest])) for start, *rest in rows]


def served_between(conn: psycopg.Connection, start: datetime, end: datetime) -> list[Served]:
    """What was served from ``start`` on, before ``end``."""
    return served_of(conn.execute(TOTALS, {"start": start, "end": end}))


def served_series(
    conn: psycopg.Connection, start: datetime, end: datetime, step: str = "hour"
) -> list[tuple[datetime, Served]]:
    """The same by ``minute``, ``hour`` or ``day`` (UTC), each with when it began."""
    return series_of(conn.execute(SERIES, {"start": start, "end": end, "step": step}))


def fallback_shares(served: Iterable[Served]) -> Mapping[str, float]:
    """Share of all pages by the reason why the model did not rank them; without those it did."""
    served = list(served)
    total = sum(minute.latency.requests for minute in served)
    shares: dict[str, float] = {}
    for minute in served:
        if minute.fallback_reason is not None and total:
            share = minute.latency.requests / total
            shares[minute.fallback_reason] = shares.get(minute.fallback_reason, 0.0) + share
    return shares
