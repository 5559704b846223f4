"""The change log: nothing missed and nothing twice, whatever transactions run meanwhile."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from alembic import command
from psycopg import AsyncConnection
from sqlalchemy import create_engine, text

from models.catalogue.changes import Changes, ItemRow, OwnerRow, UserRow
from models.profile.schema import load_profile
from serving.state.catalogue import load_catalogue
from storage import migrations
from storage.catalogue.changes import PositionLost, oldest, position, prune, read_changes
from storage.postgres.database import connect, migrate
from storage.settings import with_driver

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ITEM = "INSERT INTO feed.items (id) VALUES (%s)"


@pytest.fixture
def conn(database: str):
    with connect(database, autocommit=True) as connection:
        yield connection


def parts(url: str, since: str, **options) -> list[Changes]:
    async def read() -> list[Changes]:
        async with await AsyncConnection.connect(url) as reader:
            return [part async for part in read_changes(reader, since, **options)]

    return asyncio.run(read())


def changes(url: str, since: str) -> Changes:
    (only,) = parts(url, since)
    return only


def written(url: str, since: str) -> tuple[list[str], str]:
    """Ids of the items that were written, and the new position."""
    found = changes(url, since)
    return sorted([row.id for row in found.items] + found.removed_items), found.position


def test_rows_come_as_plain_values(conn, database: str) -> None:
    start = position(conn)
    conn.execute(
        "INSERT INTO feed.items VALUES ('i', 'o', 'Title', 'text', ARRAY['a', NULL, 'b'], 'c',"
        " 'Cluj', 46.5, 23.5, 1, 2, 'draft', 3, %s, NULL, %s)",
        (NOON, NOON + timedelta(milliseconds=500)),
    )
    conn.execute("INSERT INTO feed.users (id, tags) VALUES ('bare', '{x}'), ('rich', '{{y},{z}}')")
    conn.execute(
        "INSERT INTO feed.user_preferences VALUES ('rich', 5, 1, 9, '{p}', '{t}', '{o}', false)"
    )
    conn.execute("INSERT INTO feed.owners VALUES ('o', 4.5, 0.5, 7), ('new', NULL, NULL, NULL)")
    found = changes(database, start)
    noon = NOON.timestamp()
    assert found.items == [
        ItemRow(
            *("i", "o", ["a", "b"], "c", "Cluj", 46.5, 23.5, 1.0, 2.0, "draft", 3),
            *(noon, None, noon + 0.5, "Title"),
        )
    ]
    nothing: tuple = (None, None, None, [], [], [], True)
    assert sorted(found.users) == [
        UserRow("bare", None, None, None, ["x"], *nothing),
        UserRow("rich", None, None, None, ["y", "z"], 5.0, 1.0, 9.0, ["p"], ["t"], ["o"], False),
    ]
    assert sorted(found.owners) == [OwnerRow("new", None, None, None), OwnerRow("o", 4.5, 0.5, 7)]
    assert found.removed_items == found.removed_users == found.removed_owners == []
    assert changes(database, found.position) == Changes(found.position)


def test_only_what_differs_is_a_change(conn, database: str) -> None:
    conn.execute("INSERT INTO feed.items (id) VALUES ('a'), ('b'), ('c')")
    conn.execute("INSERT INTO feed.owners (id) VALUES ('o')")
    conn.execute("INSERT INTO feed.users (id) VALUES ('u'), ('v')")
    conn.execute("INSERT INTO feed.user_preferences (user_id) VALUES ('u')")
    start = position(conn)
    conn.execute(
        "UPDATE feed.items SET category = CASE id WHEN 'b' THEN 'x' END, updated_at = now()"
    )
    conn.execute(
        "INSERT INTO feed.items (id, city) VALUES ('a', NULL), ('d', 'Iași')"
        " ON CONFLICT (id) DO UPDATE SET city = excluded.city"
    )
    conn.execute("UPDATE feed.owners SET id = 'renamed'")
    conn.execute("UPDATE feed.user_preferences SET blocked_owners = '{o}'")
    conn.execute("DELETE FROM feed.items WHERE id = 'c'")
    found = changes(database, start)
    assert {row.id: row.category for row in found.items} == {"b": "x", "d": None}
    assert found.removed_items == ["c"]
    assert ([row.id for row in found.owners], found.removed_owners) == (["renamed"], ["o"])
    assert [(row.id, row.blocked_owners) for row in found.users] == [("u", ["o"])]
    conn.execute("DELETE FROM feed.users WHERE id = 'u'")  # the preferences go with the user
    assert changes(database, found.position).removed_users == ["u"]


def test_who_commits_late_is_not_missed(conn, database: str) -> None:
    with connect(database) as early, connect(database) as undone:
        early.execute(ITEM, ("early",))
        undone.execute(ITEM, ("undone",))
        start = position(conn)
        conn.execute(ITEM, ("late",))
        ids, then = written(database, start)
        assert ids == ["late"]
        undone.rollback()
        with early.transaction():
            early.execute(ITEM, ("kept",))
        with early.transaction(force_rollback=True):
            early.execute(ITEM, ("taken back",))
        ids, then = written(database, then)
        assert ids == []
        early.commit()
        ids, then = written(database, then)
        assert ids == ["early", "kept"]
        assert written(database, then)[0] == []


def test_a_reader_follows_writers_exactly(conn, database: str) -> None:
    """Three writers commit and roll back at random; what the reader applies equals the table."""
    start, done = position(conn), threading.Event()

    def write(name: int) -> list[str]:
        rng, committed = random.Random(name), []
        with connect(database) as writer:
            for n in range(60):
                once = f"{name}-{n}"  # never written again
                writer.execute(ITEM, (once,))
                shared = f"shared {rng.randrange(8)}"
                if rng.random() < 0.3:
                    writer.execute("DELETE FROM feed.items WHERE id = %s", (shared,))
                else:
                    writer.execute(
                        "INSERT INTO feed.items (id, price_min) VALUES (%s, %s) ON CONFLICT (id)"
                        " DO UPDATE SET price_min = excluded.price_min",
                        (shared, rng.random()),
                    )
                writer.execute("SELECT pg_sleep(%s)", (rng.random() * 0.01,))
                if rng.random() < 0.25:
                    writer.rollback()
                else:
                    writer.commit()
                    committed.append(once)
        return committed

    async def follow() -> tuple[dict[str, float | None], Counter[str], int]:
        state: dict[str, float | None] = {}
        seen, reads, since = Counter[str](), 0, start
        async with await AsyncConnection.connect(database, autocommit=True) as reader:
            finished = False
            while not finished:
                finished = done.is_set()
                async for part in read_changes(reader, since, limit=3):
                    state |= {row.id: row.price_min for row in part.items}
                    for id in part.removed_items:
                        state.pop(id, None)
                    seen.update(row.id for row in part.items)
                    since = part.position
                reads += 1
        return state, seen, reads

    with ThreadPoolExecutor(4) as pool:
        reading = pool.submit(asyncio.run, follow())
        committed = [id for ids in pool.map(write, range(3)) for id in ids]
        done.set()
        state, seen, reads = reading.result()
    assert state == dict(conn.execute("SELECT id, price_min FROM feed.items").fetchall())
    assert {id: n for id, n in seen.items() if "-" in id} == dict.fromkeys(committed, 1)
    assert reads > 10


def test_many_come_in_parts(conn, database: str) -> None:
    start = position(conn)
    conn.execute("INSERT INTO feed.items (id) SELECT n::text FROM generate_series(1, 25000) n")
    conn.execute("INSERT INTO feed.users (id) SELECT n::text FROM generate_series(1, 2000) n")
    assert conn.execute("SELECT count(*) FROM feed.changes").fetchone() == (4,)
    found = parts(database, start, limit=10_000)
    assert [len(part.items) + len(part.users) for part in found] == [10_000, 10_000, 7_000]
    assert len({row.id for part in found for row in part.items}) == 25_000
    assert [part.position == start for part in found] == [True, True, False]


def test_rows_that_break_a_rule_are_removed(conn, database: str) -> None:
    start = position(conn)
    conn.execute("INSERT INTO feed.items (id, lat, lon) VALUES ('good', 1, 1), ('bad', 91, 1)")
    conn.execute("INSERT INTO feed.items (id, status) VALUES ('lost', 'lost')")
    conn.execute("INSERT INTO feed.users (id, lat) VALUES ('half', 1)")
    conn.execute("INSERT INTO feed.owners (id, average_rating) VALUES ('nan', 'NaN')")
    found = changes(database, start)
    assert [row.id for row in found.items] == ["good"]
    assert sorted(found.removed_items) == ["bad", "lost"]
    assert found.removed_owners == ["nan"]
    # What a user blocked must not show up for half a place.
    assert [(row.id, row.lat) for row in found.users] == [("half", None)]


def test_old_changes_are_pruned_and_who_needs_them_is_told(conn, database: str) -> None:
    long_ago = position(conn)
    conn.execute(ITEM, ("old",))
    recent = position(conn)
    conn.execute("UPDATE feed.changes SET changed_at = now() - interval '31 days'")
    conn.execute(ITEM, ("new",))
    assert prune(conn) == 1
    assert prune(conn) == 0
    with pytest.raises(PositionLost, match="no longer goes back"):
        changes(database, long_ago)
    assert written(database, recent)[0] == ["new"]


def test_what_is_still_open_is_not_pruned(conn, database: str) -> None:
    """Else every position would be lost for as long as a forgotten transaction is open."""
    with connect(database) as forgotten:
        forgotten.execute(ITEM, ("forgotten",))
        conn.execute(ITEM, ("a",))
        since = position(conn)
        assert prune(conn, timedelta(0)) == 0
        conn.execute(ITEM, ("b",))
        assert written(database, since)[0] == ["b"]
        forgotten.commit()
    assert written(database, since)[0] == ["b", "forgotten"]


def test_a_position_of_another_database_is_refused(conn, database: str) -> None:
    with pytest.raises(PositionLost, match="restored"):
        changes(database, "900000000:900000000:")
    start = position(conn)
    # what a restored database brings of the old server's transactions
    conn.execute("INSERT INTO feed.changes VALUES ('900000000', 'items', '{i}')")
    conn.execute("UPDATE feed.changes_pruned SET xid = '800000000'")
    assert written(database, start)[0] == []


def test_a_truncated_table_has_to_be_read_anew(conn, database: str) -> None:
    start = position(conn)
    conn.execute("TRUNCATE feed.users CASCADE")
    with pytest.raises(PositionLost, match="truncated"):
        changes(database, start)
    assert changes(database, position(conn)).users == []


def test_the_oldest_position() -> None:
    assert oldest("7:9:7,8", "5:9:5,7,8", "9:9:", "8:10:8") == "5:9:5,7,8"
    assert oldest("10:12:10", "10:12:10,11", "10:9000:10") == "10:12:10,11"


def test_a_role_needs_no_right_on_the_log(conn, database: str) -> None:
    role = f"role_{uuid4().hex}"
    conn.execute(f"CREATE ROLE {role}")
    try:
        conn.execute(f"GRANT USAGE ON SCHEMA feed TO {role}")
        conn.execute(f"GRANT SELECT, INSERT, UPDATE ON feed.items TO {role}")
        start = position(conn)
        with conn.transaction():
            conn.execute(f"SET LOCAL ROLE {role}")
            conn.execute(ITEM, ("i",))
            conn.execute("UPDATE feed.items SET city = 'Cluj'")
        assert written(database, start)[0] == ["i"]
    finally:
        conn.execute(f"DROP OWNED BY {role}")
        conn.execute(f"DROP ROLE {role}")


def test_a_database_of_the_first_release_gets_the_log(empty_database: str) -> None:
    with connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA feed")
    engine = create_engine(with_driver(empty_database, "psycopg"))
    with engine.begin() as transaction, migrations._one_at_a_time:
        config = migrations._config()
        config.attributes["connection"] = transaction
        command.upgrade(config, "0001")
        transaction.execute(text("INSERT INTO feed.items (id) VALUES ('old')"))
    engine.dispose()
    migrate(empty_database)
    with connect(empty_database, autocommit=True) as connection:
        start = position(connection)
        connection.execute("UPDATE feed.items SET city = 'Cluj'")
    assert [(row.id, row.city) for row in changes(empty_database, start).items] == [("old", "Cluj")]


def test_the_catalogue_knows_its_position(conn, database: str) -> None:
    conn.execute(ITEM, ("before",))
    snapshot = load_catalogue(database, load_profile("marketplace"))
    conn.execute(ITEM, ("after",))
    assert snapshot.manifest.catalogue_position is not None
    assert written(database, snapshot.manifest.catalogue_position)[0] == ["after"]
