from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from models.profile.training_sections import Checks
from storage.events.quarantine import (
    by_reason,
    quarantine_interactions,
    quarantine_items,
    quarantine_owners,
    quarantine_users,
    reason_sql,
)
from storage.postgres.database import connect

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def add(conn: psycopg.Connection, **row: object) -> str:
    """Insert an interaction that is good but for ``row``, and return its event id."""
    values = {
        "event_id": str(uuid4()),
        "user_id": "u1",
        "item_id": "i1",
        "type": "click",
        "occurred_at": NOW - timedelta(hours=1),
        "received_at": NOW,
        "metadata": '{"q": "x"}',
    } | row
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at, received_at,"
        " metadata) VALUES (%(event_id)s, %(user_id)s, %(item_id)s, %(type)s, %(occurred_at)s,"
        " %(received_at)s, %(metadata)s)",
        values,
    )
    return str(values["event_id"])


def rejected(conn: psycopg.Connection) -> list[tuple[str, str, dict]]:
    rows = conn.execute(
        "SELECT entity, reason, raw FROM feed.interactions_rejected WHERE source = 'pipeline'"
        " ORDER BY id"
    ).fetchall()
    return [(entity, reason, json.loads(raw)) for entity, reason, raw in rows]


def kept(conn: psycopg.Connection) -> set[str]:
    return {str(id) for (id,) in conn.execute("SELECT event_id FROM feed.interactions")}


def test_what_moves_says_whose_it_is(conn: psycopg.Connection) -> None:
    add(conn, user_id="ann\"o'é", type="no type")
    add(conn, user_id="x" * 300)
    add(conn, user_id=None, item_id=None)
    conn.execute("INSERT INTO feed.users (id, lat, lon) VALUES ('ben', 91, 0)")
    conn.execute("INSERT INTO feed.items (id, lat, lon) VALUES ('ben', 91, 0)")
    quarantine_interactions(conn, NOW - timedelta(days=1), NOW)
    quarantine_users(conn)
    quarantine_items(conn)
    found = conn.execute(
        "SELECT entity, user_ids FROM feed.interactions_rejected ORDER BY entity, user_ids"
    ).fetchall()
    assert found == [
        *[("interactions", [])] * 2,
        ("interactions", ["ann\"o'é"]),
        ("items", []),
        ("users", ["ben"]),
    ]


@pytest.mark.parametrize("by", ["occurred_at", "received_at"])
def test_exactly_the_bad_interactions_move(conn: psycopg.Connection, by: str) -> None:
    good = {
        add(conn),
        add(conn, user_id=None),
        add(conn, item_id=None, type="search", metadata=None),
        add(conn, user_id="o'\"😀", occurred_at=NOW + timedelta(minutes=5)),
    }
    bad = {
        add(conn, type="no type"): "unknown type",
        add(conn, item_id=None): "no item_id",
        add(conn, item_id=""): "item_id is empty",
        add(conn, user_id=""): "user_id is empty",
        add(conn, user_id="é" * 128): "user_id has more than 255 bytes",
        add(conn, occurred_at="1969-12-31T00:00Z"): "occurred_at is before 1970",
        add(conn, occurred_at="20026-01-01T00:00Z"): "occurred_at is in the future",
        add(conn, occurred_at=NOW + DAY): "occurred_at is in the future",
    }
    moved = quarantine_interactions(conn, NOW - DAY, NOW + DAY, by=by)  # type: ignore[arg-type]
    assert moved == by_reason(bad)
    assert kept(conn) == good
    assert {raw["event_id"]: reason for _, reason, raw in rejected(conn)} == bad
    whole = next(raw for _, reason, raw in rejected(conn) if reason == "unknown type")
    assert (whole["type"], whole["user_id"], whole["metadata"]) == ("no type", "u1", {"q": "x"})

    assert quarantine_interactions(conn, NOW - DAY, NOW + DAY, by=by) == {}  # type: ignore[arg-type]
    assert kept(conn) == good
    assert len(rejected(conn)) == len(bad)


def test_only_the_range_is_looked_at(conn: psycopg.Connection) -> None:
    old = add(conn, type="X", occurred_at=NOW - 3 * DAY, received_at=NOW - 3 * DAY)
    assert quarantine_interactions(conn, NOW - DAY, NOW) == {}
    assert quarantine_interactions(conn, NOW - DAY, NOW + DAY, by="received_at") == {}
    assert kept(conn) == {old}
    assert quarantine_interactions(conn, NOW - 4 * DAY, NOW - 2 * DAY) == {"unknown type": 1}


def test_of_repeated_event_ids_the_first_good_one_stays(conn: psycopg.Connection) -> None:
    id = str(uuid4())
    add(conn, event_id=id, type="X", occurred_at=NOW - timedelta(hours=9), received_at=NOW - DAY)
    add(conn, event_id=id, item_id="late", received_at=NOW)
    add(
        conn,
        event_id=id,
        item_id="first",
        occurred_at=NOW - timedelta(hours=2),
        received_at=NOW - timedelta(hours=2),
    )
    moved = quarantine_interactions(conn, NOW - DAY, NOW)
    assert moved == {"event_id is not unique": 1, "unknown type": 1}
    assert conn.execute("SELECT item_id FROM feed.interactions").fetchall() == [("first",)]


def test_how_far_ahead_is_too_far_is_the_profiles(conn: psycopg.Connection) -> None:
    add(conn, occurred_at=datetime.now(UTC) + timedelta(minutes=30))
    patient = Checks(max_future_minutes=60)
    assert quarantine_interactions(conn, NOW - DAY, NOW, checks=patient) == {}
    assert quarantine_interactions(conn, NOW - DAY, NOW) == {"occurred_at is in the future": 1}


def test_a_rejected_event_that_comes_again_is_moved_again(conn: psycopg.Connection) -> None:
    id = add(conn, type="X")
    for _ in range(2):
        assert quarantine_interactions(conn, NOW - DAY, NOW) == {"unknown type": 1}
        add(conn, event_id=id, type="X")
    assert len(rejected(conn)) == 1


def test_bad_users_and_items_stay_and_are_recorded_once(conn: psycopg.Connection) -> None:
    conn.execute(
        "INSERT INTO feed.users (id, lat, lon, created_at) VALUES"
        " ('good', 52, 13, now()), ('nowhere', NULL, NULL, now()), ('nan', 'NaN', 0, now()),"
        " ('half', 1, NULL, now()), ('future', NULL, NULL, '20026-01-01Z')"
    )
    conn.execute(
        "INSERT INTO feed.items (id, status, price_min, price_max, lon) VALUES"
        " ('good', 'draft', 1, 1, NULL), ('gone', 'deleted', NULL, NULL, NULL),"
        " ('dear', 'published', 5, 4, NULL), ('half', 'published', NULL, NULL, 1)"
    )
    conn.execute("INSERT INTO feed.owners (id, average_rating) VALUES ('a', 5), ('b', 'Infinity')")
    users = {
        "nan": "lat is not in -90 to 90",
        "half": "lat without lon",
        "future": "created_at is in the future",
    }
    items = {
        "gone": "unknown status",
        "dear": "price_min is above price_max",
        "half": "lon without lat",
    }
    for _ in range(2):
        assert quarantine_users(conn) == users
        assert quarantine_items(conn) == items
        assert quarantine_owners(conn) == {"b": "average_rating is not in 0 to 5"}
        assert len(rejected(conn)) == 7
    assert {
        (entity, raw["id"]): reason for entity, reason, raw in rejected(conn) if entity != "owners"
    } == {("users", id): reason for id, reason in users.items()} | {
        ("items", id): reason for id, reason in items.items()
    }
    assert conn.execute("SELECT count(*) FROM feed.users").fetchone() == (5,)

    usable = conn.execute(f"SELECT id FROM feed.items WHERE ({reason_sql('items')}) IS NULL")
    assert usable.fetchall() == [("good",)]

    conn.execute("UPDATE feed.items SET updated_at = now() + interval '1 hour' WHERE id = 'dear'")
    quarantine_items(conn)
    assert len(rejected(conn)) == 7  # a touch is no change
    conn.execute("UPDATE feed.items SET price_min = 9 WHERE id = 'dear'")
    quarantine_items(conn)
    assert len(rejected(conn)) == 8
    conn.execute("UPDATE feed.items SET price_min = 1 WHERE id = 'dear'")
    assert "dear" not in quarantine_items(conn)
