"""One entry a user, one at work on it, and not too often."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from storage.catalogue import refresh_queue as queue
from storage.postgres.database import connect

HOUR = timedelta(hours=1)


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    ("type", "metadata", "expected"),
    [
        ("impression", None, False),
        ("click", None, True),
        ("search", {}, True),
        ("dwell", None, False),
        ("dwell", {"seconds": 9.9}, False),
        ("dwell", {"seconds": 10}, True),
        ("dwell", {"seconds": "long"}, False),
    ],
)
def test_what_is_meaningful(type: str, metadata: dict | None, expected: bool) -> None:
    assert queue.is_meaningful(type, metadata) is expected


def test_a_user_is_refreshed_once_an_interval(conn: psycopg.Connection) -> None:
    queue.request_now(conn, ["b", "a", "a"])
    queue.request_now(conn, ["a"])
    assert queue.due(conn, HOUR) == 2
    taken = queue.take(conn, 10, HOUR)
    assert taken.users == ["a", "b"]
    assert queue.take(conn, 10, HOUR).users == []
    queue.request_now(conn, ["a"])  # while it is made
    assert queue.take(conn, 10, HOUR).users == []
    queue.done(conn, taken, HOUR)
    assert queue.due(conn, HOUR) == 0  # too soon
    conn.execute("UPDATE feed.refresh_queue SET not_before = now()")
    assert queue.take(conn, 10, HOUR).users == ["a"]  # b wants nothing
    assert queue.forget(conn) == 1


def test_who_died_gives_way(conn: psycopg.Connection) -> None:
    queue.request_now(conn, ["a"])
    dead = queue.take(conn, 1, HOUR)
    conn.execute("UPDATE feed.refresh_queue SET taken_at = taken_at - interval '11 minutes'")
    heir = queue.take(conn, 1, HOUR)
    assert heir.users == ["a"]
    queue.done(conn, dead, HOUR)
    assert conn.execute("SELECT taken_at FROM feed.refresh_queue").fetchone() == (heir.at,)
    assert queue.forget(conn) == 0


def test_takers_at_once_share_the_users(conn: psycopg.Connection, database: str) -> None:
    async def ask() -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await queue.request(connection, [f"u{n:03}" for n in range(300)])

    asyncio.run(ask())
    found: list[str] = []
    start = threading.Barrier(4)

    def work() -> None:
        with connect(database) as mine:
            start.wait()
            while users := queue.take(mine, 7, HOUR).users:
                mine.commit()
                found.extend(users)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"u{n:03}" for n in range(300)]


def test_after_the_clock_was_set_back_nobody_waits_for_it(conn: psycopg.Connection) -> None:
    queue.request_now(conn, ["made", "taken"])
    taken = queue.take(conn, 1, HOUR)
    queue.done(conn, taken, HOUR)
    queue.take(conn, 1, HOUR)  # whose taker dies
    conn.execute(
        "UPDATE feed.refresh_queue SET taken_at = taken_at + interval '1 day',"
        " not_before = not_before + interval '1 day'"
    )
    queue.request_now(conn, ["made"])
    assert queue.due(conn, HOUR) == 2
    assert queue.take(conn, 5, HOUR).users == ["made", "taken"]


def test_a_taker_passes_over_what_another_looks_at(conn: psycopg.Connection, database: str) -> None:
    queue.request_now(conn, ["a", "b"])
    with connect(database) as other:
        assert queue.take(other, 1, HOUR).users == ["a"]  # not committed
        assert queue.take(conn, 5, HOUR).users == ["b"]
        other.rollback()
    assert queue.take(conn, 5, HOUR).users == ["a"]
