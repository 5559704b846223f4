"""What is stored of one user: their preferences and ready list, all of it, and its erasure.

Rows come out as JSON text that Postgres makes. The caller owns the transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
from psycopg import sql
from psycopg.types.json import Jsonb

from storage.catalogue.entities import Connection
from storage.privacy import erasures

PREFERENCES = {
    "max_distance_km": "double precision",
    "preferred_price_min": "double precision",
    "preferred_price_max": "double precision",
    "preferred_tags": "text[]",
    "blocked_tags": "text[]",
    "blocked_owners": "text[]",
    "personalization_enabled": "boolean",
}
_DEFAULTS = {
    "preferred_tags": "'{}'",
    "blocked_tags": "'{}'",
    "blocked_owners": "'{}'",
    "personalization_enabled": "true",
}


@dataclass(frozen=True)
class _Part:
    """A table with rows of users.

    Attributes:
        key: what tells a user's rows apart, with its types.
        where: which rows are theirs.
        named: which other rows name them.
    """

    table: str
    key: Mapping[str, str]
    where: str = "user_id = %(id)s"
    named: str = "false"


PARTS = {
    "user": _Part("users", {"id": "text"}, "id = %(id)s"),
    "preferences": _Part("user_preferences", {"user_id": "text"}),
    "implicit_interests": _Part("implicit_interests", {"kind": "text", "value": "text"}),
    "recommendations": _Part("recommendations", {"rank": "smallint"}),
    "user_similarities": _Part(
        "user_similarities", {"rank": "smallint"}, named="similar_id = %(id)s"
    ),
    "experiment_assignments": _Part("experiment_assignments", {"experiment_id": "text"}),
    "refresh_queue": _Part("refresh_queue", {"user_id": "text"}),
    "variant_hours": _Part(
        "variant_hours",
        {
            "hour": "timestamptz",
            "experiment": "text",
            "arm": "text",
            "variant": "text",
            "model_version": "text",
        },
    ),
    "interactions": _Part("interactions", {"occurred_at": "timestamptz", "event_id": "uuid"}),
    "rejected": _Part("interactions_rejected", {"id": "bigint"}, "user_ids @> ARRAY[%(id)s]"),
}
"""Name in an export -> where it is. An erasure deletes the same rows, and those that name them."""


@dataclass(frozen=True)
class Page:
    """Some rows of a part, as JSON text. ``after``: where the next page starts; None: the last."""

    rows: list[str]
    after: list[str] | None


async def page(
    connection: Connection, part: str, user_id: str, after: Sequence[str] | None, limit: int
) -> Page:
    """A page of a user's rows in the part of ``PARTS``, in the order of its key."""
    place = PARTS[part]
    columns = ", ".join(place.key)
    text = ", ".join(f"r.{name}::text" for name in place.key)
    starts = [
        f"(%(after)s::text[])[{number}]::{kind}"
        for number, kind in enumerate(place.key.values(), start=1)
    ]
    beyond = f"AND ROW({columns}) > ROW({', '.join(starts)})" if after else ""
    cursor = await connection.execute(
        _sql(f"""
        SELECT row_to_json(r)::text, ARRAY[{text}] FROM feed.{place.table} AS r
        WHERE {place.where} {beyond} ORDER BY {columns} LIMIT %(limit)s
        """),
        {"id": user_id, "after": list(after or ()), "limit": limit},
    )
    rows = await cursor.fetchall()
    return Page([row for row, _ in rows], rows[-1][1] if len(rows) == limit else None)


async def erase(connection: Connection, user_id: str, *, actor: str = "api") -> bool:
    """Delete all that is stored of a user, and note that in feed.audit_log.

    The note holds a SHA-256 of the id and numbers of rows, nothing else. feed.changes names
    the id until it is pruned, so that every worker forgets the user. ``erasures`` keeps out
    what comes in late, and has the pipeline erase them from the lake, also when there is
    nothing here; the next training leaves them out of snapshots and models.

    Args:
        actor: who asked, for the note.

    Returns:
        Whether there was anything.
    """
    erased: dict[str, int] = {}
    await erasures.lock(connection)
    # Users last: their preferences go with them, and would not be counted.
    for part in reversed(PARTS.values()):
        cursor = await connection.execute(
            _sql(f"DELETE FROM feed.{part.table} WHERE {part.where} OR {part.named}"),
            {"id": user_id},
        )
        if cursor.rowcount:
            erased[part.table] = cursor.rowcount
    if erased:
        detail = {"user_sha256": hashlib.sha256(user_id.encode()).hexdigest(), "rows": erased}
        await connection.execute(
            "INSERT INTO feed.audit_log (actor, action, detail) VALUES (%s, 'erase_user', %s)",
            (actor, Jsonb(detail)),
        )
    await connection.execute(erasures.NOTE, {"id": user_id})
    return bool(erased)


async def preferences(connection: Connection, user_id: str, *, lock: bool = False) -> str | None:
    """Preferences of a user, the defaults where none are stored; None: no such user.

    ``lock`` lets nobody else change them until the transaction ends.
    """
    if lock:
        # A statement of its own: one that waits for the lock goes on with what the other table
        # held when it began.
        await connection.execute(
            "SELECT FROM feed.users WHERE id = %s FOR NO KEY UPDATE", (user_id,)
        )
    cursor = await connection.execute(
        _sql(f"""
        SELECT {_PREFERENCES}
        FROM feed.users AS u LEFT JOIN feed.user_preferences AS p ON p.user_id = u.id
        WHERE u.id = %s
        """),
        (user_id,),
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def change_preferences(
    connection: Connection, user_id: str, values: Mapping[str, Any]
) -> str:
    """Set some preferences, at least one, of a user who is there; None is the default.

    Returns:
        The row.
    """
    columns = ", ".join(values)
    given = ", ".join(f"{name} {PREFERENCES[name]}" for name in values)
    filled = ", ".join(_or_default("g", name) for name in values)
    sets = ", ".join(f"{name} = excluded.{name}" for name in values)
    cursor = await connection.execute(
        _sql(f"""
        INSERT INTO feed.user_preferences AS p (user_id, {columns})
        SELECT u.id, {filled} FROM feed.users AS u, json_to_record(%s::json) AS g({given})
        WHERE u.id = %s
        ON CONFLICT (user_id) DO UPDATE SET {sets}, updated_at = now()
        RETURNING {_PREFERENCES.replace("u.id", "p.user_id")}
        """),
        (orjson.dumps(dict(values)).decode(), user_id),
    )
    written = await cursor.fetchone()
    assert written is not None, "the caller has seen the user"
    return written[0]


async def recommendations(connection: Connection, user_id: str) -> list[dict[str, Any]] | None:
    """A user's ready list, as the pipeline made it; None: no such user.

    Returns:
        item_id, score, reason, model_version, generated_at, best first.
    """
    cursor = await connection.execute(
        """
        SELECT item_id, score, reason::text, model_version, to_json(generated_at)#>>'{}'
        FROM feed.recommendations WHERE user_id = %s ORDER BY rank
        """,
        (user_id,),
    )
    rows = await cursor.fetchall()
    if not rows:
        user = await connection.execute("SELECT FROM feed.users WHERE id = %s", (user_id,))
        if await user.fetchone() is None:
            return None
    return [
        {
            "item_id": item_id,
            "score": score,
            "reason": orjson.loads(reason),
            "model_version": model_version,
            "generated_at": generated_at,
        }
        for item_id, score, reason, model_version, generated_at in rows
    ]


def _or_default(table: str, name: str) -> str:
    column = f"{table}.{name}"
    return f"coalesce({column}, {_DEFAULTS[name]})" if name in _DEFAULTS else column


_PREFERENCES = (
    "(SELECT row_to_json(r)::text FROM (SELECT u.id AS user_id, "
    + ", ".join(f"{_or_default('p', name)} AS {name}" for name in PREFERENCES)
    + ", p.updated_at) AS r)"
)


def _sql(text: str) -> sql.SQL:
    return sql.SQL(cast(Any, text))
