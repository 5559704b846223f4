"""A version judged from the log of another one: what it would have put at each position."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from going_live.off_policy import choices, estimate, orders_of
from models.profile.schema import load_profile
from storage.postgres.database import connect
from tests.serving.worlds import make_snapshot

NOW = datetime.now(UTC)
START = NOW - timedelta(hours=3)
PROFILE = load_profile("marketplace")


@given(st.integers(0, 12).flatmap(lambda n: st.permutations(range(n))), st.permutations(range(15)))
def test_choices_are_the_first_that_does_not_stand_above(order: list[int], feed: list[int]) -> None:
    shown = feed[:10]
    expected = [
        float(item == next((one for one in order if one not in shown[:above]), None))
        for above, item in enumerate(shown)
    ]
    assert choices(np.array(order, int), np.array(shown)).tolist() == expected


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def log(
    conn: psycopg.Connection, feed: str, user: str, items: list[str], clicked: set[str]
) -> None:
    at = NOW - timedelta(hours=1)
    for position, item in enumerate(items, start=1):
        metadata = {
            "feed_id": feed, "variant": "champion", "position": position, "propensity": 1.0,
        }  # fmt: skip
        for type in ("impression", "click") if item in clicked else ("impression",):
            conn.execute(
                "INSERT INTO feed.interactions"
                " (event_id, user_id, item_id, type, occurred_at, metadata)"
                " VALUES (gen_random_uuid(), %s, %s, %s, %s, %s)",
                (user, item, type, at, Jsonb(metadata)),
            )


def test_a_version_that_would_have_shown_the_same(conn) -> None:
    snapshot = make_snapshot("2", users=40)
    assert estimate(conn, snapshot, PROFILE, start=START, end=NOW) is None
    users = [snapshot.users.ids[n] for n in range(40)]
    orders = orders_of(snapshot, PROFILE, users, NOW.timestamp())
    for user in users:
        items = [snapshot.items.ids[row] for row in orders[user][:10].tolist()]
        log(conn, f"feed of {user}", user, items, {items[0], items[4]})
    found = estimate(conn, snapshot, PROFILE, start=START, end=NOW)
    assert found is not None
    assert (found.note, found.overlap, found.impressions, found.users) == (None, 1.0, 400, 40)
    assert found.snips.value == found.logged.value == pytest.approx(0.2)
    assert estimate(conn, snapshot, PROFILE, start=NOW, end=NOW) is None


def test_a_version_that_would_have_shown_others_says_so(conn) -> None:
    snapshot = make_snapshot("2", users=40)
    for n in range(40):
        user = snapshot.users.ids[n]
        log(conn, f"feed {n}", user, [snapshot.items.ids[59 - place] for place in range(10)], set())
    found = estimate(conn, snapshot, PROFILE, start=START, end=NOW)
    assert found is not None
    assert (found.note or "").startswith("not enough data")


def test_what_stands_below_a_gap_is_left_out(conn) -> None:
    snapshot = make_snapshot("2")
    user = snapshot.users.ids[7]
    log(conn, "f", user, ["i0001", "i0002", "i0003", "i0004"], set())
    conn.execute("DELETE FROM feed.interactions WHERE item_id = 'i0003'")
    forged = {"feed_id": "f", "variant": "champion", "position": 3, "propensity": 0}
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at, metadata)"
        " VALUES (gen_random_uuid(), %s, 'i0003', 'impression', %s, %s)",
        (user, NOW - timedelta(hours=1), Jsonb(forged)),
    )
    found = estimate(conn, snapshot, PROFILE, start=START, end=NOW)
    assert found is not None
    assert found.impressions == 2
