"""Users, items and owners, as an API writes and reads them.

A call is one statement, however many rows it names: rows go in as one JSON array, and come
out as the JSON text that Postgres makes of them (columns in the order of
``storage.loading.values.columns``, then ``updated_at``; times in the session's zone).
The caller owns the transaction.

All that is put into the SQL here is names of ours, never a product's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import orjson
import psycopg
from psycopg import sql

from storage.events.quarantine import Catalogue
from storage.loading.values.columns import COLUMNS, SQL_TYPES

Connection = psycopg.AsyncConnection[Any]
Query = sql.SQL

SOURCE = "api"
MAX_REASON = 500
"""Characters of a reason that are kept; an index entry has room for some 2,600 bytes."""

# What a column holds where nothing is given.
_DEFAULTS = {"tags": "'{}'", "attributes": "'{}'", "status": "'published'"}


@dataclass(frozen=True)
class Written:
    """A row that was written: its id, whether it is new, and its JSON text."""

    id: str
    created: bool
    row: str


@dataclass(frozen=True)
class Refused:
    """An entry that was not written. ``raw``: its JSON text; ``number``: its place, from 1;
    ``user_ids``: whom it names."""

    number: int
    reason: str
    raw: str
    user_ids: list[str] = field(default_factory=list)


def names(entity: Catalogue) -> tuple[str, ...]:
    """The columns that can be written, ``id`` first."""
    return tuple(column.name for column in COLUMNS[entity])


async def get(
    connection: Connection, entity: Catalogue, id: str, *, lock: bool = False
) -> str | None:
    """The row, or None; ``lock`` keeps it as it is until the transaction ends."""
    cursor = await connection.execute(
        _sql(
            f"SELECT {_json(entity)} FROM feed.{entity} AS t WHERE id = %s"
            f"{' FOR UPDATE' if lock else ''}"
        ),
        (id,),
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def get_many(connection: Connection, entity: Catalogue, ids: Sequence[str]) -> dict[str, str]:
    """Id -> row, of those that there are."""
    cursor = await connection.execute(
        _sql(f"SELECT id, {_json(entity)} FROM feed.{entity} AS t WHERE id = ANY(%s)"), (list(ids),)
    )
    return dict(await cursor.fetchall())


async def browse(
    connection: Connection, entity: Catalogue, prefix: str, after: str, limit: int
) -> list[tuple[str, str]]:
    """(id, row) of up to ``limit`` rows whose id starts so, by id, from the one after ``after``."""
    cursor = await connection.execute(
        _sql(
            f"SELECT id, {_json(entity)} FROM feed.{entity} AS t"
            " WHERE id > %s AND starts_with(id, %s) ORDER BY id LIMIT %s"
        ),
        (after, prefix, limit),
    )
    return await cursor.fetchall()


async def put(
    connection: Connection, entity: Catalogue, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Written]:
    """Create or replace rows of different ids; what a row does not name gets its default.

    A row that is there keeps its ``created_at`` unless another is given: else each change
    would make an item look new. ``updated_at`` is the transaction's start.

    Returns:
        By id.
    """
    columns = names(entity)
    values = ", ".join(
        "coalesce(g.created_at, now())" if name == "created_at" else _or_default(name)
        for name in columns
    )
    # Of the row as it is once it is locked, not as it was when the statement began.
    kept = "CASE WHEN excluded.id = ANY(%(dated)s) THEN excluded.created_at ELSE t.created_at END"
    sets = ", ".join(
        f"{name} = {kept if name == 'created_at' else f'excluded.{name}'}"
        for name in columns
        if name != "id"
    )
    # By id: two calls that write the same rows wait for each other, not in a circle.
    # xmax is 0 in a row version that no update made.
    cursor = await connection.execute(
        _sql(f"""
        INSERT INTO feed.{entity} AS t ({", ".join(columns)})
        SELECT {values} FROM {_given(entity, columns)} ORDER BY g.id
        ON CONFLICT (id) DO UPDATE SET {sets}, updated_at = now()
        RETURNING id, xmax = 0, {_json(entity)}
        """),
        {
            "rows": _array(rows),
            "dated": [row["id"] for row in rows if row.get("created_at") is not None],
        },
    )
    return {id: Written(id, created, row) for id, created, row in await cursor.fetchall()}


async def change(
    connection: Connection, entity: Catalogue, id: str, values: Mapping[str, Any]
) -> str | None:
    """Set some columns, at least one, of a row; None goes back to the default.

    Returns:
        The row, or None: there is none.
    """
    sets = ", ".join(
        f"{name} = "
        + (f"coalesce(g.{name}, t.{name})" if name == "created_at" else _or_default(name))
        for name in values
    )
    cursor = await connection.execute(
        _sql(f"""
        UPDATE feed.{entity} AS t SET {sets}, updated_at = now()
        FROM {_given(entity, ("id", *values))} WHERE t.id = g.id
        RETURNING {_json(entity)}
        """),
        {"rows": _array([{"id": id, **values}])},
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def remove(connection: Connection, entity: Catalogue, id: str) -> bool:
    """Delete a row; whether there was one. Interactions with it stay."""
    cursor = await connection.execute(_sql(f"DELETE FROM feed.{entity} WHERE id = %s"), (id,))
    return cursor.rowcount > 0


async def keep_refused(
    connection: Connection, entity: Catalogue, refused: Sequence[Refused]
) -> None:
    """Keep entries that were refused in feed.interactions_rejected, each once."""
    if not refused:
        return
    await connection.execute(
        "INSERT INTO feed.interactions_rejected (entity, source, row_number, reason, raw, user_ids)"
        " SELECT %s, %s, r.* FROM json_to_recordset(%s::json)"
        " AS r(number bigint, reason text, raw text, user_ids text[])"
        " ON CONFLICT (raw_hash, reason) DO NOTHING",
        (entity, SOURCE, _array([_kept(entry) for entry in refused])),
    )


def _kept(entry: Refused) -> dict[str, Any]:
    return asdict(entry) | {"reason": entry.reason.replace("\0", "\\0")[:MAX_REASON]}


def _json(entity: Catalogue) -> str:
    """SQL expression over ``t``: the row's JSON text."""
    columns = ", ".join(f"t.{name}" for name in (*names(entity), "updated_at"))
    return f"(SELECT row_to_json(r)::text FROM (SELECT {columns}) AS r)"


def _given(entity: Catalogue, columns: Sequence[str]) -> str:
    """SQL relation ``g``: the rows of the parameter ``rows``, a JSON array of objects."""
    kinds = {column.name: SQL_TYPES[column.kind] for column in COLUMNS[entity]}
    definition = ", ".join(f"{name} {kinds[name]}" for name in columns)
    return f"json_to_recordset(%(rows)s::json) AS g({definition})"


def _or_default(name: str) -> str:
    return f"coalesce(g.{name}, {_DEFAULTS[name]})" if name in _DEFAULTS else f"g.{name}"


def _array(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


def _sql(text: str) -> Query:
    return sql.SQL(cast(Any, text))
