"""The catalogue's writes, and what is stored of one user."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest

from storage.catalogue import entities as catalogue
from storage.catalogue.entities import Connection, Refused
from storage.loading.values.columns import Entity
from storage.postgres.database import connect
from storage.privacy import people
from storage.privacy.named_users import users_in
from storage.privacy.people import PARTS

T = TypeVar("T")


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def run(database: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    async def in_transaction() -> T:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            return await work(connection)

    return asyncio.run(in_transaction())


def test_writes_of_the_same_rows_wait_for_each_other(database: str) -> None:
    rows = [{"id": f"i{number}", "title": "x"} for number in range(200)]

    async def both() -> None:
        async def write(order: list[dict[str, Any]]) -> None:
            async with await psycopg.AsyncConnection.connect(database) as connection:
                for _ in range(5):
                    await catalogue.put(connection, "items", order)
                    await connection.commit()

        await asyncio.gather(write(rows), write(rows[::-1]))

    asyncio.run(both())  # no deadlock
    ids = ["i1", "i199"]
    assert set(run(database, lambda c: catalogue.get_many(c, "items", ids))) == set(ids)


def test_what_is_refused_is_kept_once(database: str, conn: psycopg.Connection) -> None:
    refused = [Refused(1, "no\0such: " + "é" * 5_000, '{"id": "\\u0000"}')] * 2
    for _ in range(2):
        run(database, lambda c: catalogue.keep_refused(c, "users", refused))
    found = conn.execute("SELECT entity, source, row_number FROM feed.interactions_rejected")
    assert found.fetchall() == [("users", "api", 1)]


def fill(conn: psycopg.Connection, user: str, other: str) -> None:
    """Something of the user in every table, and something that names them elsewhere."""
    conn.execute("INSERT INTO feed.users (id) VALUES (%s)", (user,))
    for query in (
        "INSERT INTO feed.user_preferences (user_id) VALUES (%(u)s)",
        "INSERT INTO feed.implicit_interests VALUES (%(u)s, 'tag', 'x', 1, now())",
        "INSERT INTO feed.recommendations VALUES (%(u)s, 'i', 1, 1, '{}', '1')",
        "INSERT INTO feed.user_similarities VALUES (%(u)s, %(o)s, 1, 0.5)",
        "INSERT INTO feed.experiment_assignments VALUES ('e', %(u)s, 'champion')",
        "INSERT INTO feed.variant_hours (hour, user_id, variant) VALUES (now(), %(u)s, 'champion')",
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " VALUES (gen_random_uuid(), %(u)s, 'i', 'view', '2026-01-01Z')",
    ):
        conn.execute(query, {"u": user, "o": other})
    refused: list[tuple[Entity, dict[str, Any]]] = [
        ("interactions", {"user_id": user, "type": "?"}),
        ("users", {"id": user, "lat": 91}),
        ("items", {"id": user}),  # an item that is called the same
        ("interactions", {"user_id": f"{user}x", "item_id": user}),
    ]
    for entity, raw in refused:
        conn.execute(
            "INSERT INTO feed.interactions_rejected (entity, source, reason, raw, user_ids)"
            " VALUES (%s, 'log', 'bad', %s, %s)",
            (entity, json.dumps(raw, ensure_ascii=False), users_in(entity, raw)),
        )


def holding(conn: psycopg.Connection, text: str) -> dict[str, int]:
    """Table -> rows whose JSON text has ``text``; partitions count as their table."""
    tables = conn.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'feed'::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition"
    ).fetchall()
    counts = {}
    for (table,) in tables:
        row = conn.execute(
            f"SELECT count(*) FROM feed.{table} AS r WHERE strpos(to_json(r)::text, %s) > 0",
            (text,),
        ).fetchone()
        if row and row[0]:
            counts[table] = row[0]
    return counts


@pytest.mark.parametrize("user", ["ann\"o'é", "196"])
def test_erasing_a_user_leaves_nothing_of_them(
    database: str, conn: psycopg.Connection, user: str
) -> None:
    conn.execute("INSERT INTO feed.experiments (id, salt, variants) VALUES ('e', 's', '[]')")
    fill(conn, user, "bob")
    fill(conn, "bob", user)
    before = holding(conn, "bob")
    assert run(database, lambda c: people.erase(c, user))
    left = conn.execute(
        "SELECT entity, raw FROM feed.interactions_rejected WHERE strpos(raw, %s) > 0",
        (json.dumps(user, ensure_ascii=False),),
    ).fetchall()
    assert sorted(entity for entity, _ in left) == ["interactions", "items"]
    conn.execute("DELETE FROM feed.interactions_rejected")
    assert set(holding(conn, json.dumps(user, ensure_ascii=False))) <= {"changes", "erasures"}
    after = holding(conn, "bob")
    # what named both is gone, the rest of the other user is there
    assert {table for table in before if table not in after} <= {
        "interactions_rejected", "user_similarities",
    }  # fmt: skip
    note = conn.execute("SELECT actor, action, detail::text FROM feed.audit_log").fetchall()
    assert [(actor, action) for actor, action, _ in note] == [("api", "erase_user")]
    assert '"user_preferences": 1' in note[0][2]
    assert not run(database, lambda c: people.erase(c, user))
    assert len(conn.execute("SELECT FROM feed.audit_log").fetchall()) == 1


def test_every_table_with_users_is_exported_and_erased(conn: psycopg.Connection) -> None:
    tables = conn.execute(
        "SELECT DISTINCT attrelid::regclass::text FROM pg_attribute JOIN pg_class c"
        " ON c.oid = attrelid WHERE c.relnamespace = 'feed'::regnamespace"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND attname = 'user_id'"
    ).fetchall()
    covered = {part.table for part in PARTS.values()}
    assert {table.removeprefix("feed.") for (table,) in tables} <= covered


def test_a_ready_list_is_given_whole_best_first(database: str, conn: psycopg.Connection) -> None:
    run(database, lambda c: catalogue.put(c, "users", [{"id": "u"}]))
    conn.execute(
        "INSERT INTO feed.recommendations SELECT 'u', 'i' || n, 4 - n, 0.5, '{}', '1'"
        " FROM generate_series(1, 3) AS n"
    )
    rows = run(database, lambda c: people.recommendations(c, "u"))
    assert rows is not None
    assert [row["item_id"] for row in rows] == ["i3", "i2", "i1"]
    assert run(database, lambda c: people.recommendations(c, "x")) is None
