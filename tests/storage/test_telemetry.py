"""What is counted of the live feed, on a real Postgres."""

from __future__ import annotations

import json
import math
import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from models.profile.interaction_types import DEFAULT_TYPES
from storage.events import telemetry
from storage.events.telemetry import COUNTED
from storage.postgres.database import connect

NOW = datetime.now(UTC)
WEIGHTS: dict[str, float] = {"apply": 10.0, "click": 2.0, "dismiss": -5.0}


@pytest.fixture
def conn(database: str):
    with connect(database, autocommit=True) as connection:
        yield connection


def add(
    conn: psycopg.Connection,
    type: str,
    item: str | None = "i",
    *,
    user: str | None = "u",
    hours_ago: float = 1,
    at: datetime | None = None,
    metadata: object = None,
    times: int = 1,
) -> None:
    for _ in range(times):
        conn.execute(
            "INSERT INTO feed.interactions"
            " (event_id, user_id, item_id, type, occurred_at, metadata)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (
                uuid4(),
                user,
                item,
                type,
                at or NOW - timedelta(hours=hours_ago),
                None if metadata is None else json.dumps(metadata),
            ),
        )


def engagement(conn: psycopg.Connection, window: int) -> dict[str, tuple[int, int, float]]:
    rows = conn.execute(
        "SELECT item_id, clicks, impressions, score FROM feed.engagement_metrics"
        " WHERE window_hours = %s",
        (window,),
    )
    return {item: (clicks, impressions, score) for item, clicks, impressions, score in rows}


def test_counts_and_scores(conn) -> None:
    add(conn, "click", "good", times=2)
    add(conn, "apply", "good")
    add(conn, "click", "fair", user=None)
    add(conn, "impression", "seen", times=3)
    add(conn, "dismiss", "bad")
    add(conn, "search", None)
    assert telemetry.refresh_engagement(conn, (24,), WEIGHTS) == 4
    found = engagement(conn, 24)
    assert found["good"] == (2, 0, 1.0)
    assert found["fair"] == (1, 0, pytest.approx(math.log1p(2) / math.log1p(14)))
    assert found["seen"] == (0, 3, 0.0)
    assert found["bad"] == (0, 0, 0.0)


def test_every_type_that_has_a_column_is_counted(conn) -> None:
    for type in DEFAULT_TYPES.counted_as(*COUNTED.values()):
        add(conn, type)
    telemetry.refresh_engagement(conn, (24,), WEIGHTS)
    row = conn.execute(f"SELECT {', '.join(COUNTED)} FROM feed.engagement_metrics").fetchone()
    assert row == (1,) * len(COUNTED)


def test_windows_end_now_and_are_replaced_each_for_itself(conn) -> None:
    add(conn, "click", "today")
    add(conn, "click", "this week", hours_ago=100)
    add(conn, "click", "long ago", hours_ago=1000)
    add(conn, "click", "to come", hours_ago=-1)
    telemetry.refresh_engagement(conn, (24, 168), WEIGHTS)
    assert set(engagement(conn, 24)) == {"today"}
    assert set(engagement(conn, 168)) == {"today", "this week"}
    conn.execute("DELETE FROM feed.interactions WHERE item_id = 'today'")
    assert telemetry.refresh_engagement(conn, (24,), WEIGHTS) == 0
    assert engagement(conn, 24) == {}
    assert set(engagement(conn, 168)) == {"today", "this week"}


def test_trending_is_what_has_a_score(conn, database: str) -> None:
    assert telemetry.refresh_trending(conn) == 0
    add(conn, "click", "hot", times=3)
    add(conn, "click", "warm")
    add(conn, "dismiss", "cold")
    with connect(database) as other:  # in one transaction, as the pipeline does
        telemetry.refresh_engagement(other, (24, 168, 720), WEIGHTS)
        assert telemetry.refresh_trending(other) == 4
    rows = conn.execute(
        "SELECT item_id, rank FROM feed.trending_items WHERE window_hours = 24 ORDER BY rank"
    ).fetchall()
    assert rows == [("hot", 1), ("warm", 2)]


def test_refreshes_at_once_come_one_after_the_other(conn, database: str) -> None:
    add(conn, "click")
    telemetry.refresh_engagement(conn, (24,), WEIGHTS)
    failures: list[Exception] = []

    def refresh(windows: tuple[int, ...]) -> None:
        try:
            for _ in range(5):
                with connect(database) as other:
                    telemetry.refresh_engagement(other, windows, WEIGHTS)
                    telemetry.refresh_trending(other)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=refresh, args=(w,)) for w in ((24, 168), (168, 24), (24,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(engagement(conn, 24)) == {"i"}


def test_the_audit_log_keeps_its_detail(conn) -> None:
    telemetry.write_audit(conn, "pipeline", "model.refused", {"version": "1", "reason": None})
    row = conn.execute("SELECT actor, action, detail FROM feed.audit_log").fetchone()
    assert row == ("pipeline", "model.refused", {"version": "1", "reason": None})
