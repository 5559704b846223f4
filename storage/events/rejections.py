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
    where = "id < coalesce(%s, 9223372036854775807) AND entity = coalesce(%s, entity)"
    return await _rows(connection, f"{where} ORDER BY id DESC LIMIT %s", (after, entity, limit))


async def lock(connection: Connection, ids: Sequence[int]) -> list[Rejection]:
    """The rows of these ids that there are, oldest first, kept from others until the end of
    the transaction."""
    return await _rows(connection, "id = ANY(%s) ORDER BY id FOR UPDATE", (list(ids),))


async def lock_next(
    connection: Connection, limit: int, after: int = 0, reason: str = ""
) -> list[Rejection]:
    """As ``lock``: the oldest interactions after an id whose reason has ``reason`` in it."""
    where = "entity = 'interactions' AND id > %s AND strpos(reason, %s) > 0"
    parameters = after, reason, limit
    return await _rows(connection, f"{where} ORDER BY id LIMIT %s FOR UPDATE", parameters)


async def _rows(
    connection: Connection, where: str, parameters: tuple[object, ...]
) -> list[Rejection]:
    query = f"SELECT {_COLUMNS} FROM feed.interactions_rejected WHERE {where}"
    cursor = await connection.execute(query, parameters)
    return [Rejection(*row) for row in await cursor.fetchall()]


async def delete(connection: Connection, ids: Sequence[int]) -> None:
    await connection.execute(
        "DELETE FROM feed.interactions_rejected WHERE id = ANY(%s)", (list(ids),)
    )
