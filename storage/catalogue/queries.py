"""What the pipeline and the service ask of Postgres, as frames."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, LiteralString

import polars as pl
import psycopg

from models.catalogue.building import PREFERENCES
from storage.events.lake import SCHEMA as INTERACTIONS
from storage.loading.values.columns import EARLIEST

OVERLAP = timedelta(minutes=15)
"""What was received so long before the last run is read again: clocks differ, and of other
roles' transactions ``storage.postgres.settled`` may not know."""
LATEST = datetime(9999, 12, 31, tzinfo=UTC)
"""Python's dates end there, Postgres's go on; the quarantine takes what lies beyond."""

USERS = {
    "id": pl.String,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "city": pl.String,
    "tags": pl.List(pl.String),
    "attributes": pl.String,
    "created_at": pl.Datetime("us", "UTC"),
}
ITEMS = {
    "id": pl.String,
    "owner_id": pl.String,
    "title": pl.String,
    "tags": pl.List(pl.String),
    "category": pl.String,
    "city": pl.String,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "price_min": pl.Float64,
    "price_max": pl.Float64,
    "status": pl.String,
    "capacity": pl.Int32,
    "created_at": pl.Datetime("us", "UTC"),
    "publish_at": pl.Datetime("us", "UTC"),
    "starts_at": pl.Datetime("us", "UTC"),
    "attributes": pl.String,
}
OWNERS = {
    "id": pl.String,
    "average_rating": pl.Float64,
    "completion_rate": pl.Float64,
    "finished_jobs": pl.Int64,
}


def read(
    url: str, query: str, parameters: Sequence[Any] = (), schema: dict | None = None
) -> pl.DataFrame:
    """The rows of a query, as a frame of that schema.

    Through Arrow (ADBC), which spares a Python object a value: a million rows a second.
    """
    from adbc_driver_postgresql import dbapi  # imports pandas: only who reads

    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        frame = pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table()))
    return frame.cast(schema) if schema else frame


def read_users(url: str, *, where: str = "true") -> pl.DataFrame:
    """Users by id; ``where`` is one of our own SQL predicates, never input."""
    return _read_table(url, "users", USERS, where)


def read_items(url: str, *, where: str = "true") -> pl.DataFrame:
    """Items by id; ``where`` as in ``read_users``."""
    return _read_table(url, "items", ITEMS, where)


def read_owners(url: str, *, where: str = "true") -> pl.DataFrame:
    """Owners by id; ``where`` as in ``read_users``."""
    return _read_table(url, "owners", OWNERS, where)


def _read_table(url: str, table: str, schema: dict[str, Any], where: str) -> pl.DataFrame:
    columns = ", ".join(schema).replace("attributes", "attributes::text")
    return read(url, f"SELECT {columns} FROM feed.{table} WHERE {where} ORDER BY id", schema=schema)


def read_preferences(url: str) -> pl.DataFrame:
    """What users chose themselves, by user; those who chose nothing have no row."""
    return read(
        url,
        f"SELECT {', '.join(PREFERENCES)} FROM feed.user_preferences ORDER BY user_id",
        schema=PREFERENCES,
    )


def read_trending(url: str, window_hours: int = 168) -> pl.DataFrame:
    """What trends: columns item_id, score in [0, 1]."""
    return read(
        url,
        "SELECT item_id, score FROM feed.trending_items WHERE window_hours = $1",
        (window_hours,),
        schema={"item_id": pl.String, "score": pl.Float64},
    )


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Start and end of a UTC day."""
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)


def read_interactions(url: str, days: Sequence[date]) -> pl.DataFrame:
    """Interactions of these UTC days, at least one, by time. O(rows from the first to the last)."""
    return read(
        url,
        "SELECT event_id::text, user_id, item_id, type, occurred_at, received_at, metadata::text"
        " FROM feed.interactions"
        " JOIN unnest($3::text::date[]) AS d (day) ON day = (occurred_at AT TIME ZONE 'UTC')::date"
        " WHERE occurred_at >= $1 AND occurred_at < $2"
        " ORDER BY occurred_at, event_id",
        (
            day_bounds(min(days))[0],
            day_bounds(max(days))[1],
            f"{{{','.join(day.isoformat() for day in days)}}}",
        ),
        schema=INTERACTIONS,
    )


def rows_by_day(conn: psycopg.Connection, days: Sequence[date]) -> dict[date, int]:
    """Interactions of each of these UTC days that has any. Cost as ``read_interactions``."""
    if not days:
        return {}
    rows = conn.execute(
        "SELECT day, count(*) FROM feed.interactions"
        " JOIN unnest(%s::date[]) AS d (day) ON day = (occurred_at AT TIME ZONE 'UTC')::date"
        " WHERE occurred_at >= %s AND occurred_at < %s GROUP BY day",
        (list(days), day_bounds(min(days))[0], day_bounds(max(days))[1]),
    )
    return dict(rows.fetchall())


def changed_days(conn: psycopg.Connection, since: datetime | None) -> list[date]:
    """UTC days that got interactions after ``since`` (None: ever) or in the ``OVERLAP`` before
    it, oldest first. Days that no calendar has, and those before 1970, are left out."""
    rows = conn.execute(
        "SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date FROM feed.interactions"
        " WHERE occurred_at >= %(first)s AND occurred_at < %(last)s"
        " AND received_at >= coalesce(%(since)s::timestamptz, '-infinity') ORDER BY 1",
        {"first": EARLIEST, "last": LATEST, "since": since and since - OVERLAP},
    )
    return [day for (day,) in rows]


def first_interaction(conn: psycopg.Connection) -> datetime | None:
    """When the oldest interaction that a calendar has occurred, from 1970 on."""
    return _value(
        conn,
        "SELECT min(occurred_at) FROM feed.interactions"
        " WHERE occurred_at >= %s AND occurred_at < %s",
        (EARLIEST, LATEST),
    )


def count_received_since(conn: psycopg.Connection, since: datetime) -> int:
    return _value(conn, "SELECT count(*) FROM feed.interactions WHERE received_at > %s", (since,))


def _value(conn: psycopg.Connection, query: LiteralString, parameters: Sequence[Any] = ()) -> Any:
    row = conn.execute(query, parameters).fetchone()
    return row[0] if row else None


def active_users(conn: psycopg.Connection, since: datetime) -> list[str]:
    """Ids of the users who did anything after ``since``."""
    rows = conn.execute(
        "SELECT DISTINCT user_id FROM feed.interactions"
        " WHERE occurred_at > %s AND user_id IS NOT NULL ORDER BY 1",
        (since,),
    )
    return [user_id for (user_id,) in rows]


def touched_since(
    conn: psycopg.Connection, users: Sequence[str], since: datetime, types: Sequence[str]
) -> pl.DataFrame:
    """What these users did something of ``types`` with that was received after ``since``:
    columns user_id, item_id, each pair once."""
    rows = conn.execute(
        "SELECT DISTINCT user_id, item_id FROM feed.interactions WHERE user_id = ANY(%s)"
        " AND item_id IS NOT NULL AND received_at > %s AND type = ANY(%s)",
        (list(users), since, list(types)),
    )
    schema = {"user_id": pl.String, "item_id": pl.String}
    return pl.DataFrame(rows.fetchall(), schema=schema, orient="row")
