"""SQL to frames: types, texts, and which days a run has to read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import polars as pl
import psycopg
import pytest

from storage.catalogue import queries
from storage.events.lake import SCHEMA
from storage.postgres.database import connect
from storage.postgres.settled import settled_until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = NOON.date()


@pytest.fixture
def conn(database: str):
    with connect(database, autocommit=True) as connection:
        yield connection


def add(
    conn: psycopg.Connection,
    occurred_at: datetime | str,
    received_at: datetime | None = None,
    **values: str | None,
) -> str:
    event_id = str(uuid4())
    row = {"user_id": "u", "item_id": "i", "type": "click", "metadata": None} | values
    conn.execute(
        "INSERT INTO feed.interactions"
        " (event_id, user_id, item_id, type, metadata, occurred_at, received_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, coalesce(%s, now()))",
        (event_id, *row.values(), occurred_at, received_at),
    )
    return event_id


def test_frames_have_their_types_even_without_rows(database: str) -> None:
    assert dict(queries.read_users(database).schema) == queries.USERS
    assert dict(queries.read_items(database).schema) == queries.ITEMS
    assert dict(queries.read_owners(database).schema) == queries.OWNERS
    empty = queries.read_interactions(database, [DAY])
    assert empty.schema == pl.Schema(SCHEMA)
    assert queries.read_trending(database).columns == ["item_id", "score"]


def test_users_come_as_they_are(conn, database: str) -> None:
    tags = ["", '"', "a,b", "\\N", "line\nbreak", "🦊", "{}", "NULL"]
    conn.execute(
        "INSERT INTO feed.users (id, lat, lon, city, tags, attributes, created_at)"
        " VALUES (%s, 1.5, NULL, '', %s, '{\"a\": [1]}', %s),"
        " ('b', NULL, NULL, NULL, '{}', '{}', %s)",
        ("a 'quoted' 🦊", tags, NOON, NOON),
    )
    first, second = queries.read_users(database).rows(named=True)
    assert first == {
        "id": "a 'quoted' 🦊",
        "lat": 1.5,
        "lon": None,
        "city": "",
        "tags": tags,
        "attributes": '{"a": [1]}',
        "created_at": NOON,
    }
    assert second["city"] is None
    assert second["tags"] == []
    assert len(queries.read_users(database, where="lat IS NULL")) == 1


def test_the_days_of_interactions_are_those_of_utc(conn, database: str) -> None:
    conn.execute("SET timezone = 'Asia/Tokyo'")
    start, end = queries.day_bounds(DAY)
    inside = [add(conn, start), add(conn, end - timedelta(microseconds=1), user_id=None)]
    add(conn, start - timedelta(microseconds=1))
    add(conn, end)
    frame = queries.read_interactions(database, [DAY])
    assert frame["event_id"].to_list() == inside
    assert frame["user_id"].to_list() == ["u", None]
    days = [DAY + timedelta(days=n) for n in (-1, 0, 1)]
    assert queries.changed_days(conn, None) == days
    assert queries.rows_by_day(conn, days) == dict(zip(days, (1, 2, 1), strict=True))
    assert len(queries.read_interactions(database, [days[0], days[2]])) == 2  # none between


def test_late_ones_change_their_day(conn) -> None:
    since = datetime.now(UTC)
    earlier = since - timedelta(hours=2)
    add(conn, NOON, earlier)
    add(conn, NOON - timedelta(days=400), since + timedelta(seconds=1))
    assert queries.changed_days(conn, since) == [DAY - timedelta(days=400)]
    assert queries.changed_days(conn, earlier) == [DAY - timedelta(days=400), DAY]


def test_what_was_received_just_before_is_read_again(conn) -> None:
    since = datetime.now(UTC)
    add(conn, NOON, since - queries.OVERLAP)
    add(conn, NOON + timedelta(days=1), since - queries.OVERLAP - timedelta(seconds=1))
    assert queries.changed_days(conn, since) == [DAY]


@pytest.mark.parametrize(
    "odd", ["infinity", "-infinity", "20026-01-01 00:00Z", "0044-03-15 00:00Z BC", "1969-12-31Z"]
)
def test_days_that_no_calendar_has_are_left_to_the_quarantine(conn, odd: str) -> None:
    add(conn, odd)
    assert queries.changed_days(conn, None) == []
    assert queries.first_interaction(conn) is None
    add(conn, NOON)
    assert queries.changed_days(conn, None) == [DAY]
    assert queries.first_interaction(conn) == NOON


def test_nothing_is_settled_that_an_open_transaction_may_still_add(conn, database: str) -> None:
    with connect(database) as slow:
        add(slow, NOON)
        (began,) = slow.execute("SELECT now()").fetchone() or (None,)
        add(conn, NOON + timedelta(days=1))
        assert settled_until(conn) == began
        assert queries.changed_days(conn, None) == [DAY + timedelta(days=1)]
        slow.commit()
        assert settled_until(conn) > began
    assert DAY in queries.changed_days(conn, began)


def test_counts_and_active_users(conn) -> None:
    assert queries.active_users(conn, NOON) == []
    add(conn, NOON, NOON, user_id="old")
    add(conn, NOON + timedelta(seconds=1), user_id="it's 🦊")
    add(conn, NOON + timedelta(seconds=2), user_id="it's 🦊")
    add(conn, NOON + timedelta(seconds=3), user_id=None)
    assert queries.active_users(conn, NOON) == ["it's 🦊"]
    assert queries.count_received_since(conn, NOON) == 3


def test_bounds_of_a_day() -> None:
    start, end = queries.day_bounds(date(2024, 2, 29))
    assert start == datetime(2024, 2, 29, tzinfo=UTC)
    assert end == datetime(2024, 3, 1, tzinfo=UTC)
