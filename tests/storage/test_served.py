"""Counts of what was served are added, and say how fast it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from storage.operations.served import (
    BOUNDS,
    BUCKETS,
    KEPT_DAYS,
    SAVE,
    Latency,
    bucket_of,
    fallback_shares,
    served_between,
    served_series,
)
from storage.postgres.database import connect
from storage.privacy.retention import delete_rows

HOUR = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def minute(at: datetime, requests: int, place: int, **key: str) -> dict[str, Any]:
    buckets = [0] * BUCKETS
    buckets[place] = requests
    return {
        "minute": int(at.timestamp()),
        "variant": "champion",
        "model_version": "1",
        "fallback_reason": "",
        "requests": requests,
        "seconds": 0.25 * requests,
        "buckets": buckets,
    } | key


def test_minutes_are_added_and_read_by_reason_and_hour(conn: psycopg.Connection) -> None:
    away = {"variant": "heuristic", "model_version": "", "fallback_reason": "no_model"}
    rows = [minute(HOUR, 3, 0), minute(HOUR, 1, 16, **away)]
    conn.execute(SAVE, (Jsonb(rows),))
    conn.execute(SAVE, (Jsonb([minute(HOUR, 5, 2), minute(HOUR + timedelta(hours=1), 1, 2)]),))
    found = served_between(conn, HOUR, HOUR + timedelta(hours=2))
    champion, heuristic = found
    assert (champion.variant, champion.model_version, champion.fallback_reason) == (
        "champion", "1", None,
    )  # fmt: skip
    assert champion.latency.requests == 9
    assert champion.latency.seconds == pytest.approx(2.25)
    assert champion.latency.buckets[:3] == (3, 0, 6)
    assert (heuristic.model_version, heuristic.fallback_reason) == (None, "no_model")
    assert heuristic.latency.quantile(0.5) == BOUNDS[-1]
    assert fallback_shares(found) == {"no_model": 0.1}
    assert Latency.sum(one.latency for one in found).requests == 10
    series = served_series(conn, HOUR, HOUR + timedelta(hours=2))
    assert [(start, one.latency.requests) for start, one in series] == [
        (HOUR, 8),
        (HOUR, 1),
        (HOUR + timedelta(hours=1), 1),
    ]
    assert len(served_between(conn, HOUR, HOUR)) == 0


def test_old_minutes_are_deleted(conn: psycopg.Connection) -> None:
    now = datetime.now(UTC)
    old = minute(now - timedelta(days=KEPT_DAYS, hours=1), 1, 0)
    conn.execute(SAVE, (Jsonb([old, minute(now, 1, 0)]),))
    assert delete_rows(conn, "served_minutes", KEPT_DAYS, now) == 1
    assert len(served_between(conn, now - timedelta(days=90), now + timedelta(days=1))) == 1


@given(
    st.lists(st.floats(1e-5, 2.4), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.99, 1.0])
)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(times: list[float], share: float) -> None:
    buckets = np.bincount([bucket_of(seconds) for seconds in times], minlength=BUCKETS)
    latency = Latency(len(times), sum(times), tuple(map(int, buckets)))
    true = np.quantile(times, share, method="inverted_cdf")
    edges = (0.0, *BOUNDS)
    place = bucket_of(float(true))
    found = latency.quantile(share)
    assert found is not None
    assert edges[place] <= found <= edges[place + 1]


def test_there_is_no_quantile_of_nothing() -> None:
    assert Latency().quantile(0.5) is None
    assert Latency.sum([]).as_json() == {"requests": 0, "p50_ms": None, "p99_ms": None}
