"""Keys as they are stored: hashed, made once, revoked for ever; secrets that follow each other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from storage.operations.keys import (
    AuditEntry,
    KeyScope,
    has_keys,
    hash_key,
    key_id_of,
    list_keys,
    live_keys,
    live_secrets,
    make_first_keys,
    make_key,
    note_use,
    revoke_key,
    rotate_secret,
    signing_secret,
    write_audit,
)
from storage.postgres.database import connect

pytestmark = pytest.mark.anyio
SCOPES: tuple[KeyScope, ...] = ("track", "read", "admin")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def actions(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    return conn.execute("SELECT actor, action FROM feed.audit_log ORDER BY id").fetchall()


async def test_a_key_has_the_limits_that_it_was_given(
    database: str, conn: psycopg.Connection
) -> None:
    make_key(conn, "track", "forwarder", limit_per_key=600_000, limit_per_user=0)
    make_key(conn, "track", "site")
    async with await psycopg.AsyncConnection.connect(database) as connection:
        found = [(key.limit_per_key, key.limit_per_user) for key in await live_keys(connection)]
    assert found == [(600_000, 0), (None, None)]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_is_stored_as_its_hash_alone(conn: psycopg.Connection, scope: KeyScope) -> None:
    key = make_key(conn, scope, "back end")
    begins, named, key_id, secret = key.split("_", 3)
    assert (begins, named) == ("fw", scope)
    assert key_id_of(key) == key_id
    assert len(secret) >= 32
    everything = conn.execute(
        "SELECT (SELECT json_agg(k)::text FROM feed.api_keys AS k)"
        " || (SELECT json_agg(a)::text FROM feed.audit_log AS a)"
    ).fetchone()
    assert secret not in str(everything)
    stored = conn.execute("SELECT key_hash FROM feed.api_keys").fetchone()
    assert stored == (hash_key(key),)
    assert actions(conn) == [("command line", "make_key")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fw_read_0123abcd_short",
        "fw_write_0123abcd_" + "x" * 43,
        "fw_read_0123ABCD_" + "x" * 43,
        "fw_read_0123abcd_" + "x" * 101,
        "fw_read_0123abcd_" + "x" * 42 + "\n",
        "fw_read_0123abcd_" + "é" * 43,
    ],
)
def test_what_is_no_key(text: str) -> None:
    assert key_id_of(text) is None


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb"])
def test_a_name_that_cannot_be(conn: psycopg.Connection, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        make_key(conn, "read", name)
    with pytest.raises(ValueError, match="needs_token"):
        make_key(conn, "admin", "x", needs_token=True)
    assert not has_keys(conn)


def test_first_keys_are_made_once_whoever_starts(conn: psycopg.Connection, database: str) -> None:
    def start(_: int) -> dict[KeyScope, str]:
        with connect(database, autocommit=True) as connection:
            return make_first_keys(connection)

    with ThreadPoolExecutor(4) as pool:
        made = [keys for keys in pool.map(start, range(4)) if keys]
    assert [set(keys) for keys in made] == [set(SCOPES)]
    for row in list_keys(conn):
        revoke_key(conn, row.key_id)
    assert make_first_keys(conn) == {}  # not again because none is left


async def test_what_a_worker_reads_and_writes(conn: psycopg.Connection, database: str) -> None:
    key = make_key(conn, "track", "site", needs_token=True)
    gone = make_key(conn, "admin", "old")
    key_id, gone_id = key_id_of(key), key_id_of(gone)
    assert key_id
    assert gone_id
    row = revoke_key(conn, gone_id)
    assert row is not None
    assert row.revoked_at is not None
    assert revoke_key(conn, gone_id) == row  # stays as it was
    assert revoke_key(conn, "00000000") is None
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as worker:
        [live] = await live_keys(worker)
        assert (live.key_id, live.scope, live.needs_token) == (key_id, "track", True)
        assert live.key_hash == hash_key(key)
        now = datetime.now(UTC)
        await note_use(worker, {key_id: now.timestamp()})
        await note_use(worker, {key_id: now.timestamp() - 60})  # of a worker that was slow
        used = list_keys(conn)[0].last_used_at
        assert used is not None
        assert abs((used - now).total_seconds()) < 0.001
        entries = [AuditEntry(now, "me", f"PUT {n}", {"n": n}) for n in range(3)]
        await write_audit(worker, entries)
    assert actions(conn)[-3:] == [("me", f"PUT {n}") for n in range(3)]


async def test_two_secrets_while_one_follows_the_other(
    conn: psycopg.Connection, database: str
) -> None:
    first = signing_secret(conn)
    assert len(first.secret) == 32
    second = rotate_secret(conn)
    assert signing_secret(conn) == second
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as worker:
        assert await live_secrets(worker) == [second, first]
        conn.execute("UPDATE feed.token_secrets SET expires_at = now() WHERE id = %s", (first.id,))
        assert await live_secrets(worker) == [second]
        third = rotate_secret(conn, now=True)
        assert await live_secrets(worker) == [third]
    assert len({first.secret, second.secret, third.secret}) == 3
