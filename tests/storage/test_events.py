"""The SQL of ingest: each event once, whoever else writes it at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

from storage.events import rejections
from storage.events import store as events
from storage.events.store import Connection, Event
from storage.postgres.database import connect

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def event(**fields: Any) -> Event:
    made: Any = {
        "event_id": str(uuid4()),
        "user_id": "u",
        "item_id": "i",
        "type": "click",
        "occurred_at": NOW.isoformat(),
        "metadata": None,
        "flagged": False,
        **fields,
    }
    return made


def with_connections(
    url: str, count: int, work: Callable[[list[Connection]], Awaitable[Any]]
) -> Any:
    async def run() -> Any:
        connections = [
            await psycopg.AsyncConnection[Any].connect(url, autocommit=True) for _ in range(count)
        ]
        try:
            return await work(connections)
        finally:
            for connection in connections:
                await connection.close()

    return asyncio.run(run())


def count(url: str) -> tuple[Any, ...] | None:
    with connect(url) as connection:
        return connection.execute(
            "SELECT count(*), count(DISTINCT event_id) FROM feed.interactions"
        ).fetchone()


def test_writers_with_the_same_events_at_once_store_each_once(database: str) -> None:
    """In other orders; half of them with times of the server's, another for each writer."""

    async def work(connections: list[Connection]) -> list[events.Stored]:
        ids = [str(uuid4()) for _ in range(400)]

        async def write(number: int, connection: Connection) -> list[events.Stored]:
            mine = ids[:: 1 if number % 2 else -1]
            late = (NOW + timedelta(milliseconds=number)).isoformat()
            given = [
                event(event_id=id, flagged=True, occurred_at=late)
                if int(id[0], 16) % 2
                else event(event_id=id)
                for id in mine
            ]
            return [
                await events.store(connection, given[at : at + 100]) for at in (0, 100, 200, 300)
            ]

        found = await asyncio.gather(*(write(n, c) for n, c in enumerate(connections)))
        return [one for each in found for one in each]

    stored = with_connections(database, 4, work)
    assert count(database) == (400, 400)
    assert not any(one.refused for one in stored)
    # to each but one writer it was there already
    assert sum(len(one.known) for one in stored) == 3 * 400


def test_of_writers_with_other_events_of_one_id_at_once_one_has_it(database: str) -> None:
    """Other users at one time, and other times, which Postgres itself does not tell apart."""

    async def work(connections: list[Connection]) -> list[events.Stored]:
        async def write(number: int, connection: Connection) -> list[events.Stored]:
            return [
                await events.store(
                    connection,
                    [
                        event(event_id=id, user_id=f"u{number}")
                        if place % 2
                        else event(event_id=id, occurred_at=(NOW - number * HOUR).isoformat())
                        for place, id in enumerate(ids[at : at + 40])
                    ],
                )
                for at in range(0, 400, 40)
            ]

        ids = [str(uuid4()) for _ in range(400)]
        found = await asyncio.gather(*(write(n, c) for n, c in enumerate(connections)))
        return [one for each in found for one in each]

    stored = with_connections(database, 4, work)
    assert count(database) == (400, 400)
    assert not any(one.known for one in stored)
    assert sum(len(one.refused) for one in stored) == 3 * 400
    with connect(database) as connection:
        kept = connection.execute(
            "SELECT count(*) FILTER (WHERE reason LIKE 'event_id: %another user_id:%'),"
            " count(*) FILTER (WHERE reason LIKE 'event_id: %another occurred_at:%')"
            " FROM feed.interactions_rejected"
        ).fetchone()
    assert kept == (600, 600)


def test_a_client_that_gives_all_events_one_id(database: str) -> None:
    """The first is stored, its repeats are known, all others are kept as refused: in as many
    statements as ever."""
    id, asked = str(uuid4()), []
    given = [event(event_id=id, user_id=f"u{number % 999}") for number in range(2_000)]

    async def work(connections: list[Connection]) -> list[events.Stored]:
        (connection,) = connections
        execute = connection.execute

        async def counted(*statement: Any, **options: Any) -> Any:
            asked.append(statement)
            return await execute(*statement, **options)

        connection.execute = counted  # type: ignore[method-assign]
        return [await events.store(connection, given), await events.store(connection, given[1:])]

    first, again = with_connections(database, 1, work)
    assert count(database) == (1, 1)
    assert first.known == {999, 1_998}
    assert len(first.refused) == 1_997
    assert len(again.refused) == 1_997
    assert len(asked) < 10
    with connect(database) as connection:
        kept = connection.execute("SELECT count(*) FROM feed.interactions_rejected").fetchone()
    assert kept == (998,)  # of equal ones, one


def test_what_belongs_to_it_is_in_the_same_transaction(database: str) -> None:
    async def work(connections: list[Connection]) -> None:
        async def fails(connection: Connection) -> None:
            await connection.execute("SELECT 1 / 0")

        refused: Any = [{"row_number": 1, "reason": "is wrong", "raw": "{}"}]
        try:
            await events.store(connections[0], [event()], refused, fails)
        except psycopg.errors.DivisionByZero:
            assert await rejections.page(connections[0], 10) == []
            return
        raise AssertionError

    with_connections(database, 1, work)
    assert count(database) == (0, 0)


def test_months_are_made_once_and_a_month_in_the_default_partition_stays(database: str) -> None:
    async def work(connections: list[Connection]) -> None:
        old = event(occurred_at="2026-01-05T00:00:00Z")
        await events.store(connections[0], [old])  # into the default partition
        wanted = {"2026-01", "2026-02", "2025-12"}
        await asyncio.gather(*(events.ensure_partitions(c, wanted) for c in connections))
        assert (await events.store(connections[1], [old])).known == {0}

    with_connections(database, 3, work)
    with connect(database) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relname ~ '^interactions_20' AND relkind = 'r'"
        ).fetchall()
    assert sorted(tables) == [("interactions_202512",), ("interactions_202602",)]


IDS = "SELECT event_id, occurred_at FROM feed.event_ids"
THERE = "SELECT event_id, occurred_at FROM feed.interactions"


def test_an_id_is_one_event_s_over_all_months_and_a_new_event_touches_its_own_alone(
    database: str,
) -> None:
    long_ago = [(NOW - n * 31 * 24 * HOUR).isoformat() for n in range(1, 14)]
    old = [event(occurred_at=at) for at in long_ago]
    again: list[Event] = [{**one, "occurred_at": NOW.isoformat()} for one in old]
    locked: set[str] = set()

    async def work(connections: list[Connection]) -> list[events.Stored]:
        (connection,) = connections

        async def look(connection: Connection) -> None:
            cursor = await connection.execute(
                "SELECT relname FROM pg_locks JOIN pg_class ON relation = pg_class.oid"
                " WHERE pid = pg_backend_pid() AND relkind = 'r' AND relname ~ '^interactions_2'"
            )
            locked.update(name for (name,) in await cursor.fetchall())

        await events.ensure_partitions(connection, events.months([*old, *again]))
        return [
            await events.store(connection, old),
            await events.store(connection, [event() for _ in range(20)], also=look),
            await events.store(connection, again),
            await events.store(connection, old),
        ]

    first, fresh, other, retried = with_connections(database, 1, work)
    assert first == fresh == events.Stored()
    assert other.refused.keys() == set(range(13))
    assert "another occurred_at" in str(other.refused[0])
    assert retried == events.Stored(known=set(range(13)))
    assert locked == {f"interactions_{NOW:%Y%m}"}


def test_ids_are_those_of_the_rows_whoever_writes_and_deletes(database: str) -> None:
    by_sql, flagged = event(user_id="sql"), event(user_id="flagged", flagged=True)
    moved = {**flagged, "occurred_at": (NOW + HOUR).isoformat()}
    with connect(database, autocommit=True) as connection:

        def store(*given: Any) -> events.Stored:
            return with_connections(database, 1, lambda c: events.store(c[0], given))

        connection.execute(
            "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
            " VALUES (%(event_id)s, %(user_id)s, %(item_id)s, %(type)s, %(occurred_at)s)",
            by_sql,
        )
        assert store(by_sql, flagged, event()).known == {0}
        assert store({**by_sql, "user_id": "u", "occurred_at": moved["occurred_at"]}).refused
        assert store(moved).known == {0}
        assert connection.execute(f"{IDS} EXCEPT {THERE}").fetchall() == []
        assert connection.execute(f"{THERE} EXCEPT {IDS}").fetchall() == []

        connection.execute("DELETE FROM feed.interactions WHERE user_id = 'flagged'")
        assert store(moved) == events.Stored()  # its id is free again
        connection.execute("TRUNCATE feed.interactions")
        assert connection.execute(IDS).fetchall() == []


def test_an_id_of_an_erased_user_s_late_event_is_not_kept(database: str) -> None:
    with connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feed.erasures (id_sha256, erased_id, requested_at)"
            " VALUES (sha256('gone'), 'gone', now() + interval '1 hour')"
        )
        with_connections(
            database, 1, lambda c: events.store(c[0], [event(user_id="gone"), event()])
        )
        assert connection.execute("SELECT count(*) FROM feed.event_ids").fetchone() == (1,)
