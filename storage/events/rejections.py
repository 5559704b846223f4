"""``feed.interactions_rejected``: read what was refused, and take out what is mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from storage.events.store import Connection
from storage.loading.values.columns import Entity

_COLUMNS = "id, entity, source, row_number, reason, raw, rejected_at"


@dataclass(frozen=True)
class Rejection:
    """One refused row. ``raw`` is its JSON text, or the line that is no JSON."""

    id: int
    entity: Entity
    source: str
    row_number: int | None
    reason: str
    raw: str
    rejected_at: datetime


async def page(
    connection: Connection, limit: int, after: int | None = None, entity: Entity | None = None
) -> list[Rejection]:
    """The newest rows first; ``after``: only those with smaller ids."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM feed.interactions_rejected"
        " WHERE id < coalesce(%s, 9223372036854775807) AND entity = coalesce(%s, entity)"
        " ORDER BY id DESC LIMIT %s",
        (after, entity, limit),
    )
    return [Rejection(*row) for row in await cursor.fetchall()]


async def lock(connection: Connection, ids: Sequence[int]) -> list[Rejection]:
    """The rows of these ids that there are, oldest first, kept from others until the end of
    the transaction."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM feed.interactions_rejected WHERE id = ANY(%s)"
        " ORDER BY id FOR UPDATE",
        (list(ids),),
    )
    return [Rejection(*row) for row in await cursor.fetchall()]


async def lock_next(
    connection: Connection, limit: int, after: int = 0, reason: str = ""
) -> list[Rejection]:
    """As ``lock``: the oldest interactions after an id whose reason has ``reason`` in it."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM feed.interactions_rejected"
        " WHERE entity = 'interactions' AND id > %s AND strpos(reason, %s) > 0"
        " ORDER BY id LIMIT %s FOR UPDATE",
        (after, reason, limit),
    )
    return [Rejection(*row) for row in await cursor.fetchall()]


async def delete(connection: Connection, ids: Sequence[int]) -> None:
    await connection.execute(
        "DELETE FROM feed.interactions_rejected WHERE id = ANY(%s)", (list(ids),)
    )
