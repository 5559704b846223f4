"""Keys of the API, the secrets that sign user tokens, and the audit log, in Postgres.

A key is ``fw_<scope>_<id>_<secret>``. The id finds it, and only the SHA-256 of the whole is
stored: the secret has 256 bits, so nothing slower is needed to keep it from being guessed.

What the command line does takes a connection and its transaction; what a worker does is async.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

KeyScope = Literal["track", "read", "admin"]
KEY_SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
LONGEST_NAME = 100
LONGEST_TOKEN_LIFE = timedelta(hours=24)

_KEY = re.compile(r"fw_(track|read|admin)_([0-9a-f]{8})_[A-Za-z0-9_-]{32,100}")
_LIST = """
    SELECT key_id, name, scope, needs_token, limit_per_key, limit_per_user,
           created_at, last_used_at, revoked_at
    FROM feed.api_keys WHERE key_id IS NOT NULL
"""
# As in the migration: the secret is in no statement that a server may log.
_NEW_SECRET = """
    INSERT INTO feed.token_secrets (secret) VALUES
    (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')))
    RETURNING id, secret
"""


@dataclass(frozen=True)
class KeyRow:
    """A key as it is listed. Limits a minute: see ``LiveKey``."""

    key_id: str
    name: str
    scope: KeyScope
    needs_token: bool
    limit_per_key: int | None
    limit_per_user: int | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class LiveKey:
    """A key that opens something. ``key_hash``: 32 bytes. Limits a minute: None where it has
    none of its own, 0: unlimited."""

    key_id: str
    name: str
    scope: KeyScope
    needs_token: bool
    key_hash: bytes
    limit_per_key: int | None = None
    limit_per_user: int | None = None


@dataclass(frozen=True)
class TokenSecret:
    """Signs tokens (the newest does) and verifies those that it signed."""

    id: int
    secret: bytes


@dataclass(frozen=True)
class AuditEntry:
    """One line of the audit log."""

    occurred_at: datetime
    actor: str
    action: str
    detail: Mapping[str, Any]


def key_id_of(key: str) -> str | None:
    """The id in a key; None: it cannot be one of ours."""
    match = _KEY.fullmatch(key)
    return match[2] if match else None


def hash_key(key: str) -> bytes:
    """SHA-256 of the whole key, 32 bytes."""
    return hashlib.sha256(key.encode()).digest()


def make_key(
    connection: psycopg.Connection,
    scope: KeyScope,
    name: str,
    *,
    needs_token: bool = False,
    limit_per_key: int | None = None,
    limit_per_user: int | None = None,
) -> str:
    """A new key. It is in no other place than the answer.

    Args:
        limit_per_key, limit_per_user: see ``LiveKey``.

    Raises:
        ValueError: the name is empty, too long or not printable; or an admin key would need a
            user token.
    """
    if not (name.isprintable() and 0 < len(name.strip()) <= LONGEST_NAME):
        raise ValueError(f"name: give 1 to {LONGEST_NAME} printable characters")
    if needs_token and scope == "admin":
        raise ValueError("needs_token: an admin key is not for browsers")
    key_id = secrets.token_hex(4)
    key = f"fw_{scope}_{key_id}_{secrets.token_urlsafe(32)}"
    connection.execute(
        "INSERT INTO feed.api_keys"
        " (key_id, name, scope, key_hash, needs_token, limit_per_key, limit_per_user)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (key_id, name, scope, hash_key(key), needs_token, limit_per_key, limit_per_user),
    )
    _note(connection, "make_key", key_id=key_id, name=name, scope=scope)
    return key


def make_first_keys(connection: psycopg.Connection) -> dict[KeyScope, str]:
    """A key of each scope where no key was ever made; else nothing."""
    with connection.transaction():
        connection.execute("LOCK TABLE feed.api_keys IN SHARE ROW EXCLUSIVE MODE")
        if has_keys(connection):
            return {}
        return {scope: make_key(connection, scope, f"first {scope}") for scope in KEY_SCOPES}


def has_keys(connection: psycopg.Connection) -> bool:
    """Whether a key was ever made."""
    return connection.execute("SELECT FROM feed.api_keys LIMIT 1").fetchone() is not None


def list_keys(connection: psycopg.Connection) -> list[KeyRow]:
    """All keys, also revoked ones, oldest first."""
    with connection.cursor(row_factory=class_row(KeyRow)) as cursor:
        return cursor.execute(_LIST + " ORDER BY id").fetchall()


def revoke_key(connection: psycopg.Connection, key_id: str) -> KeyRow | None:
    """The key, which opens nothing from now on; None: there is none of this id."""
    with connection.transaction(), connection.cursor(row_factory=class_row(KeyRow)) as cursor:
        changed = connection.execute(
            "UPDATE feed.api_keys SET revoked_at = now() WHERE key_id = %s AND revoked_at IS NULL",
            (key_id,),
        )
        if changed.rowcount:
            _note(connection, "revoke_key", key_id=key_id)
        return cursor.execute(_LIST + " AND key_id = %s", (key_id,)).fetchone()


def signing_secret(connection: psycopg.Connection) -> TokenSecret:
    """The secret that signs user tokens. The migration makes the first."""
    with connection.cursor(row_factory=class_row(TokenSecret)) as cursor:
        newest = cursor.execute(
            "SELECT id, secret FROM feed.token_secrets WHERE expires_at IS NULL"
            " ORDER BY id DESC LIMIT 1"
        ).fetchone()
        assert newest is not None
        return newest


def rotate_secret(connection: psycopg.Connection, *, now: bool = False) -> TokenSecret:
    """A new secret signs. Those before verify until the last token of theirs has expired, or
    not at all if ``now``; and are deleted after that."""
    with connection.transaction(), connection.cursor(row_factory=class_row(TokenSecret)) as cursor:
        connection.execute("LOCK TABLE feed.token_secrets IN SHARE ROW EXCLUSIVE MODE")
        connection.execute("DELETE FROM feed.token_secrets WHERE %s OR expires_at < now()", (now,))
        connection.execute(
            "UPDATE feed.token_secrets SET expires_at = now() + %s WHERE expires_at IS NULL",
            (LONGEST_TOKEN_LIFE,),
        )
        made = cursor.execute(_NEW_SECRET).fetchone()
        assert made is not None
        _note(connection, "rotate_token_secret", id=made.id, now=now)
        return made


async def live_keys(connection: psycopg.AsyncConnection[Any]) -> list[LiveKey]:
    """Keys that are not revoked."""
    async with connection.cursor(row_factory=class_row(LiveKey)) as cursor:
        await cursor.execute(
            "SELECT key_id, name, scope, needs_token, key_hash, limit_per_key, limit_per_user"
            " FROM feed.api_keys"
            " WHERE revoked_at IS NULL AND key_id IS NOT NULL ORDER BY id"
        )
        return await cursor.fetchall()


async def live_secrets(connection: psycopg.AsyncConnection[Any]) -> list[TokenSecret]:
    """Secrets that verify tokens, the one that signs first."""
    async with connection.cursor(row_factory=class_row(TokenSecret)) as cursor:
        await cursor.execute(
            "SELECT id, secret FROM feed.token_secrets"
            " WHERE expires_at IS NULL OR expires_at > now() ORDER BY id DESC"
        )
        return await cursor.fetchall()


async def note_use(connection: psycopg.AsyncConnection[Any], used: Mapping[str, float]) -> None:
    """When keys were last used, epoch seconds by id. Other workers note theirs: the latest
    stays."""
    await connection.execute(
        "UPDATE feed.api_keys AS k SET last_used_at = u.at"
        " FROM (SELECT key_id, to_timestamp(seconds) AS at"
        " FROM unnest(%s::text[], %s::float8[]) AS given(key_id, seconds)) AS u"
        " WHERE k.key_id = u.key_id AND coalesce(k.last_used_at < u.at, true)",
        (list(used), list(used.values())),
    )


async def write_audit(
    connection: psycopg.AsyncConnection[Any], entries: Iterable[AuditEntry]
) -> None:
    """Add lines to the audit log."""
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO feed.audit_log (occurred_at, actor, action, detail)"
            " VALUES (%s, %s, %s, %s)",
            [(e.occurred_at, e.actor, e.action, Jsonb(dict(e.detail))) for e in entries],
        )


def _note(connection: psycopg.Connection, action: str, **detail: object) -> None:
    connection.execute(
        "INSERT INTO feed.audit_log (actor, action, detail) VALUES ('command line', %s, %s)",
        (action, Jsonb(detail)),
    )
