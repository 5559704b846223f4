"""Whose history is another than at an earlier moment, and what these users did by now."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from hashlib import sha256

import polars as pl
import psycopg

from storage.catalogue import queries
from storage.events.lake import SCHEMA
from storage.loading.values.columns import EARLIEST
from storage.privacy import retention

COLUMNS = ("user_id", "item_id", "type", "occurred_at")


def active_users(conn: psycopg.Connection, since: datetime) -> set[str]:
    """Users of whom something was received from ``since`` on. Cost follows what is new."""
    rows = conn.execute(
        "SELECT DISTINCT user_id FROM feed.interactions"
        " WHERE received_at >= %s AND user_id IS NOT NULL",
        (since,),
    )
    return {user_id for (user_id,) in rows}


def written_users(conn: psycopg.Connection, since: datetime) -> set[str]:
    """Users whose row was written from ``since`` on: what new ones did before counts now."""
    rows = conn.execute("SELECT id FROM feed.users WHERE updated_at >= %s", (since,))
    return {user_id for (user_id,) in rows}


def deleted_users(conn: psycopg.Connection, among: Collection[str], since: datetime) -> set[str]:
    """Of these users, those who were deleted or erased from ``since`` on. O(users), if any."""
    rows = conn.execute(
        "SELECT id_sha256 FROM feed.deleted WHERE entity = 'users' AND deleted_at >= %s", (since,)
    )
    deleted = {bytes(id_sha256) for (id_sha256,) in rows}
    return {one for one in among if deleted and sha256(one.encode()).digest() in deleted}


def kept_from(conn: psycopg.Connection, retention_days: int) -> datetime | None:
    """Before when interactions were deleted for their age; None: none were yet."""
    row = conn.execute(
        "SELECT at FROM feed.watermarks WHERE name = %s", (retention.WATERMARK,)
    ).fetchone()
    if row is None:
        return None
    return queries.day_bounds(retention.first_day_kept(retention_days, row[0]))[0]


def users_there(url: str) -> pl.Series:
    """Ids of all users."""
    return queries.read(url, "SELECT id FROM feed.users", schema={"id": pl.String})["id"]


def histories_of(url: str, users: Collection[str]) -> pl.DataFrame:
    """What these users did with items, without those users who are not there any more, and without
    what claims to be of the future: columns user_id, item_id, type, occurred_at."""
    return queries.read(
        url,
        f"SELECT {', '.join(COLUMNS)} FROM feed.interactions"
        " WHERE user_id IN (SELECT id FROM feed.users WHERE id = ANY($1::text[]))"
        " AND item_id IS NOT NULL AND occurred_at >= $2"
        " AND occurred_at < now() + interval '10 minutes'",
        (_array(users), EARLIEST),
        schema={name: SCHEMA[name] for name in COLUMNS},
    )


def items_there(url: str, items: Collection[str]) -> pl.Series:
    """Those of these items that are in the catalogue."""
    return queries.read(
        url,
        "SELECT id FROM feed.items WHERE id = ANY($1::text[]) ORDER BY id",
        (_array(items),),
        schema={"id": pl.String},
    )["id"]


def _array(texts: Collection[str]) -> str:
    """Texts as Postgres writes an array."""
    quoted = (text.replace("\\", r"\\").replace('"', r"\"") for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"
