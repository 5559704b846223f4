"""The change log of the catalogue, read so that nothing is missed and nothing comes twice.

Triggers note in ``feed.changes`` the ids that a transaction wrote, with the transaction's own id.
A position is the text of a Postgres snapshot, ``xmin:xmax:running,…``: which transactions were
visible then. What was committed since is what is visible now and was not then: the transactions
from xmax on, and those that were running. Sequence numbers or times would miss the transaction
that began early and commits late. See "Transaction ID and Snapshot Information Functions" in the
manual of Postgres.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, LiteralString, NamedTuple, TypeVar

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import args_row

from models.catalogue.changes import Changes, ItemRow, OwnerRow, UserRow
from models.profile.training_sections import Checks
from storage.events.quarantine import Catalogue, reason_sql

KEPT = timedelta(days=30)
"""How long the log goes back: an older position is lost."""
AT_ONCE = 5_000

Row = TypeVar("Row", ItemRow, UserRow, OwnerRow)


class PositionLost(RuntimeError):
    """The log cannot tell what changed since a position: read the whole catalogue anew."""


class _Changed(NamedTuple):
    """Ids that were written since a position, each once, and why they may not be all."""

    position: str
    ahead: bool
    pruned: bool
    truncated: bool
    items: list[str]
    users: list[str]
    owners: list[str]
    erased: dict[str, float]


# A restored database may bring transactions of another server, from ``xmax`` of now on: they
# wait until this server gets there.
_CHANGED = """
WITH written AS (
    SELECT entity, ids, changed_at FROM feed.changes
    WHERE xid >= pg_snapshot_xmax(%(since)s::pg_snapshot)
      AND xid < pg_snapshot_xmax(pg_current_snapshot())
    UNION ALL
    SELECT entity, ids, changed_at FROM feed.changes
    WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(since)s::pg_snapshot)))
), one AS (
    SELECT DISTINCT CASE WHEN entity IN ('preferences', 'erased') THEN 'users' ELSE entity END
           AS entity, id
    FROM written, unnest(ids) AS id
)
SELECT pg_current_snapshot()::text,
       pg_snapshot_xmax(%(since)s::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot()),
       EXISTS (SELECT FROM feed.changes_pruned
               WHERE xid >= pg_snapshot_xmin(%(since)s::pg_snapshot)
                 AND xid < pg_snapshot_xmax(pg_current_snapshot())),
       EXISTS (SELECT FROM written WHERE ids IS NULL),
       ARRAY(SELECT id FROM one WHERE entity = 'items'),
       ARRAY(SELECT id FROM one WHERE entity = 'users'),
       ARRAY(SELECT id FROM one WHERE entity = 'owners'),
       (SELECT coalesce(json_object_agg(id, at), '{}') FROM (
           SELECT id, extract(epoch FROM max(changed_at))::float8 AS at
           FROM written, unnest(ids) AS id WHERE entity = 'erased' GROUP BY id) AS erased)
"""

# unnest: a product may have put nulls into its arrays, or given them more dimensions
_LIST = "ARRAY(SELECT one FROM unnest({0}) AS one WHERE one IS NOT NULL)"
_SECONDS = "extract(epoch FROM {0})::float8"

_ITEMS = (
    f"SELECT id, owner_id, {_LIST.format('tags')}, category, city, lat, lon, price_min, price_max,"
    f" status, capacity, {_SECONDS.format('created_at')}, {_SECONDS.format('publish_at')},"
    f" {_SECONDS.format('starts_at')}, title FROM feed.items"
)
_PLACED = "CASE WHEN lat BETWEEN -90 AND 90 AND lon BETWEEN -180 AND 180 THEN {0} END"
_USERS = (
    f"SELECT id, {_PLACED.format('lat')}, {_PLACED.format('lon')}, city,"
    f" {_LIST.format('tags')}, max_distance_km, preferred_price_min,"
    f" preferred_price_max, {_LIST.format('preferred_tags')}, {_LIST.format('blocked_tags')},"
    f" {_LIST.format('blocked_owners')}, coalesce(personalization_enabled, true)"
    " FROM feed.users LEFT JOIN feed.user_preferences ON user_id = id"
)
_OWNERS = "SELECT id, average_rating, completion_rate, finished_jobs FROM feed.owners"


def position(conn: psycopg.Connection) -> str:
    """Where the log stands now. Take it before reading the catalogue: what is committed
    meanwhile is then in the changes since, and may be in what was read too."""
    row = conn.execute("SELECT pg_current_snapshot()::text").fetchone()
    assert row is not None
    return row[0]


def oldest(*positions: str) -> str:
    """The one that was taken first, of positions of one server."""

    def moment(taken: str) -> tuple[int, int, int]:
        xmin, xmax, running = taken.split(":")
        # with both alike no transaction began in between: some that ran have ended
        return int(xmin), int(xmax), -len(running.split(",")) if running else 0

    return min(positions, key=moment)


async def read_changes(
    conn: AsyncConnection, since: str, *, limit: int = AT_ONCE, checks: Checks | None = None
) -> AsyncIterator[Changes]:
    """What was committed after the position ``since``, in parts of at most ``limit`` ids.

    There is at least one part. All but the last have the position ``since``: who stops halfway
    gets everything again. Rows are as they are when they are read, which may be newer than the
    position; the change that made them so comes again with the next call. When nothing changed
    this is one look into an index, however long the log is.

    Args:
        since: what ``position`` gave, or the position of the last ``Changes``.
        checks: the profile's limits; a row that breaks a rule of the data counts as removed.

    Raises:
        PositionLost: the log does not go back to ``since``, a table was truncated, or the
            database is another one than then.
    """
    cursor = await conn.cursor(row_factory=args_row(_Changed)).execute(_CHANGED, {"since": since})
    changed = await cursor.fetchone()
    assert changed is not None
    _refuse_lost(changed, since)
    entities = (("items", changed.items), ("users", changed.users), ("owners", changed.owners))
    todo = [(entity, id) for entity, ids in entities for id in ids]
    for start in range(0, max(len(todo), 1), limit):
        part = todo[start : start + limit]
        items, users, owners = ([id for of, id in part if of == name] for name, _ in entities)
        good_items, bad_items = await _rows(conn, "items", _ITEMS, ItemRow, items, checks)
        good_users, bad_users = await _rows(conn, "users", _USERS, UserRow, users, checks)
        good_owners, bad_owners = await _rows(conn, "owners", _OWNERS, OwnerRow, owners, checks)
        yield Changes(
            changed.position if start + limit >= len(todo) else since,
            good_items,
            good_users,
            good_owners,
            bad_items,
            bad_users,
            bad_owners,
            {id: changed.erased[id] for id in users if id in changed.erased},
        )


def prune(conn: psycopg.Connection, older_than: timedelta = KEPT) -> int:
    """Delete what the log has of earlier times; returns its rows. The caller commits.

    What a transaction wrote that is still open, or that began after one that is, stays: so a
    position that is taken after this is never lost.
    """
    row = conn.execute(
        """
        WITH gone AS (
            DELETE FROM feed.changes
            WHERE changed_at < now() - %s AND xid < pg_snapshot_xmin(pg_current_snapshot())
            RETURNING xid
        ), noted AS (
            UPDATE feed.changes_pruned AS pruned SET xid = greatest(pruned.xid, newest.xid)
            FROM (SELECT xid FROM gone ORDER BY xid DESC LIMIT 1) AS newest
        )
        SELECT count(*) FROM gone
        """,
        (older_than,),
    ).fetchone()
    assert row is not None
    return row[0]


def _refuse_lost(changed: _Changed, since: str) -> None:
    if changed.ahead:
        why = "the database has not got there yet: it was restored, or is another one"
    elif changed.pruned:
        why = "the change log no longer goes back so far"
    elif changed.truncated:
        why = "a table was truncated since"
    else:
        return
    raise PositionLost(f"Changes since position {since} are not known: {why}.")


async def _rows(
    conn: AsyncConnection,
    entity: Catalogue,
    query: str,
    row_type: type[Row],
    ids: list[str],
    checks: Checks | None,
) -> tuple[list[Row], list[str]]:
    """The rows of ``ids`` that may be used, and the ids of which there is none.

    A user is never left out for a bad column: what they blocked must not show up for that.
    """
    if not ids:
        return [], []
    reason = "NULL" if entity == "users" else reason_sql(entity, checks)
    good = sql.SQL(f"{query} WHERE id = ANY(%s) AND ({reason}) IS NULL")
    cursor = conn.cursor(row_factory=args_row(row_type))
    rows = await (await cursor.execute(good, (ids,))).fetchall()
    there = {row.id for row in rows}
    return rows, [id for id in ids if id not in there]


async def read_everything(
    conn: AsyncConnection, *, limit: int = AT_ONCE, checks: Checks | None = None
) -> AsyncIterator[Changes]:
    """The whole catalogue as it is, for when a position is lost; in parts, as ``read_changes``.

    It cannot tell what was deleted: that takes a look at what is known and did not come.
    """
    now = await _first(conn, "SELECT pg_current_snapshot()::text")
    async for ids in _ids(conn, "owners", limit):
        owners, bad = await _rows(conn, "owners", _OWNERS, OwnerRow, ids, checks)
        yield Changes(now, owners=owners, removed_owners=bad)
    async for ids in _ids(conn, "items", limit):
        items, bad = await _rows(conn, "items", _ITEMS, ItemRow, ids, checks)
        yield Changes(now, items=items, removed_items=bad)
    async for ids in _ids(conn, "users", limit):
        users, bad = await _rows(conn, "users", _USERS, UserRow, ids, checks)
        yield Changes(now, users=users, removed_users=bad)


async def _ids(conn: AsyncConnection, entity: Catalogue, limit: int) -> AsyncIterator[list[str]]:
    """All ids of a table, in order, ``limit`` at a time."""
    query = sql.SQL("SELECT coalesce(array_agg(id ORDER BY id), '{{}}') FROM ({}) AS part").format(
        sql.SQL("SELECT id FROM {} WHERE id > %s ORDER BY id LIMIT %s").format(
            sql.Identifier("feed", entity)
        )
    )
    after = ""
    while ids := await _first(conn, query, (after, limit)):
        yield ids
        after = ids[-1]


async def _first(
    conn: AsyncConnection, query: LiteralString | sql.Composed, parameters: tuple[Any, ...] = ()
) -> Any:
    """The first value of the first row."""
    row = await (await conn.execute(query, parameters)).fetchone()
    assert row is not None
    return row[0]
