"""Loading a log into Postgres: checked rows by COPY into staging tables, then one INSERT each.

All in one transaction: a failure loads nothing, and loading the same log again adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic

import polars as pl
import psycopg
from psycopg import sql

from storage.bulk import copy_frame
from storage.columns import COLUMNS, SQL_TYPES, Entity
from storage.log import Log
from storage.validation import Checked, validate

INDEX_LATER = 50_000  # rows from which filling an empty table without its indexes pays
LOAD_LOCK = 0x6C_6F_61_64  # key of the advisory lock; "load" in ASCII


Progress = Callable[[str, int, int], None]

# Cells of an upsert that a file leaves empty; the tables do not take null there.
_DEFAULTS = {
    "tags": "'{}'",
    "attributes": "'{}'",
    "status": "'published'",
    "created_at": "now()",
}


@dataclass
class EntityReport:
    """Rows of one entity. ``implied``: bare users and items that only interactions name."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    duplicate: int = 0
    rejected: int = 0
    implied: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass
class LoadReport:
    """What a load did, by entity, and how long it took in seconds."""

    entities: dict[Entity, EntityReport] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def lost(self) -> list[Entity]:
        """The entities of which every row was refused."""
        return [
            name for name, one in self.entities.items() if one.read and one.read == one.rejected
        ]

    @property
    def rejected(self) -> int:
        """Rows refused in all; they are in feed.interactions_rejected."""
        return sum(report.rejected for report in self.entities.values())


def load(conn: psycopg.Connection, log: Log, *, progress: Progress | None = None) -> LoadReport:
    """Check ``log`` and load it in one transaction, which is committed.

    Rows that are refused go to feed.interactions_rejected with their reason. Users,
    items and owners that are there already are updated, in the columns that the log
    has; interactions that are there already are left as they are. A new user or item
    whose created_at the log does not tell is as old as its first interaction in the log.

    Args:
        conn: a connection to a migrated database, outside a transaction.
        progress: told (entity, rows done, rows in all) as rows are sent.

    Raises:
        psycopg.Error: the database failed; nothing is loaded.
    """
    started = monotonic()
    report = LoadReport()
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [LOAD_LOCK])
        for entity, frame in log.frames().items():
            checked = validate(log, entity)
            counts = _refuse(conn, log, entity, checked)
            counts.read, counts.duplicate = len(frame), checked.duplicates
            report.entities[entity] = counts
            if entity == "interactions":
                good = _numbered(checked.good)
                del checked
                _stage(conn, entity, good, progress)
                _insert_interactions(conn, good, log.clock_shift, counts)
                for implied in ("users", "items"):
                    _date(conn, implied)
                    _imply(conn, implied, report)
            else:
                _stage(conn, entity, checked.good, progress)
                _upsert(conn, entity, checked.good.columns, counts)
            conn.execute(sql.SQL("DROP TABLE {}").format(_staging(entity)))
        for entity in report.entities:
            conn.execute(sql.SQL("ANALYZE feed.{}").format(sql.Identifier(entity)))
    report.seconds = monotonic() - started
    return report


def _refuse(conn: psycopg.Connection, log: Log, entity: Entity, checked: Checked) -> EntityReport:
    """Keep the refused rows with their reasons; a row that is kept already is not kept twice."""
    rejected = checked.rejected
    if len(rejected):
        columns = "entity, source, row_number, reason, raw"
        conn.execute(
            "CREATE TEMP TABLE staging_rejected (LIKE feed.interactions_rejected) ON COMMIT DROP"
        )
        conn.execute("ALTER TABLE staging_rejected ALTER id DROP NOT NULL")
        conn.execute("ALTER TABLE staging_rejected ALTER rejected_at DROP NOT NULL")
        rows = rejected.select(
            entity=pl.lit(entity),
            source=pl.lit(log.source(entity)),
            row_number="row_number",
            reason="reason",
            raw="raw",
        )
        # single rows may hold megabytes: fewer at a time
        copy_frame(conn, sql.Identifier("staging_rejected"), rows, chunk=2_000)
        conn.execute(
            f"INSERT INTO feed.interactions_rejected ({columns}) SELECT {columns} "
            "FROM staging_rejected ORDER BY row_number ON CONFLICT (raw_hash, reason) DO NOTHING"
        )
        conn.execute("DROP TABLE staging_rejected")
    by_kind = rejected["kind"].value_counts(sort=True)
    return EntityReport(rejected=len(rejected), reasons=dict(by_kind.iter_rows()))


def _numbered(good: pl.DataFrame) -> pl.DataFrame:
    """``good`` with ``nth``: which of several interactions alike a row without an event id is."""
    if "event_id" in good.columns and good["event_id"].null_count() == 0:
        return good
    alike = ["user_id", "item_id", "type", "occurred_at"]
    if not good.select(alike).is_duplicated().any():
        return good.with_columns(nth=pl.lit(0, dtype=pl.UInt32))
    return good.with_columns(nth=pl.int_range(pl.len(), dtype=pl.UInt32).over(alike))


def _stage(
    conn: psycopg.Connection, entity: Entity, good: pl.DataFrame, progress: Progress | None
) -> None:
    """Send the good rows into a temp table of the columns that the log has."""
    kinds = {column.name: column.kind for column in COLUMNS[entity]}
    types = {name: SQL_TYPES[kinds[name]] for name in good.columns if name in kinds}
    types |= {"nth": "bigint"} if "nth" in good.columns else {}
    definition = ", ".join(f"{name} {kind}" for name, kind in types.items())
    table = _staging(entity)
    create = sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP")
    conn.execute(create.format(table, sql.SQL(definition)))

    def told(rows: int) -> None:
        if progress is not None:
            progress(entity, rows, len(good))

    copy_frame(conn, table, good.select(list(types)), told=told)
    conn.execute(sql.SQL("ANALYZE {}").format(table))


def _upsert(
    conn: psycopg.Connection, entity: Entity, columns: list[str], counts: EntityReport
) -> None:
    """Insert new rows; update those that differ, in the columns that the log has."""
    names = [name for name in columns if name != "row_number"]
    values = [
        f"coalesce({name}, {_DEFAULTS[name]})" if name in _DEFAULTS else name for name in names
    ]
    # the first time that something was seen stays, whatever a later export says
    new = {
        name: f"least(t.{name}, excluded.{name})" if name == "created_at" else f"excluded.{name}"
        for name in names
        if name != "id"
    }
    old = ", ".join(f"t.{name}" for name in new)
    clause = "DO NOTHING"
    if new:
        sets = ", ".join(f"{name} = {value}" for name, value in new.items())
        clause = (
            f"DO UPDATE SET {sets}, updated_at = now() "
            f"WHERE ({old}) IS DISTINCT FROM ({', '.join(new.values())})"
        )
    # xmax is 0 in a row version that no update made
    query = (
        f"WITH written AS (INSERT INTO feed.{entity} AS t ({', '.join(names)}) "
        f"SELECT {', '.join(values)} FROM staging_{entity} "
        f"ON CONFLICT (id) {clause} RETURNING xmax = 0 AS fresh) "
        f"SELECT count(*) FILTER (WHERE fresh), count(*), "
        f"(SELECT count(*) FROM staging_{entity}) FROM written"
    )
    inserted, written, staged = conn.execute(query).fetchone() or (0, 0, 0)
    counts.inserted, counts.updated = inserted, written - inserted
    counts.duplicate += staged - written


def _insert_interactions(
    conn: psycopg.Connection, good: pl.DataFrame, shift: timedelta, counts: EntityReport
) -> None:
    if good.is_empty():
        return
    months = good["occurred_at"].dt.truncate("1mo").unique().to_list()
    conn.execute("SELECT feed.ensure_interaction_partitions(VARIADIC %s::timestamptz[])", [months])
    empty = conn.execute("SELECT NOT EXISTS (SELECT FROM feed.interactions)").fetchone() == (True,)
    event_id = "event_id" if "event_id" in good.columns else "NULL::uuid"
    if "nth" in good.columns:
        # the unshifted time in microseconds: the same in every session and at every load
        unshifted = "(extract(epoch FROM occurred_at - %(shift)s) * 1000000)::bigint"
        event_id = (
            f"coalesce({event_id}, md5(ROW(user_id, item_id, type, {unshifted}, nth)::text)::uuid)"
        )
    metadata = "metadata" if "metadata" in good.columns else "NULL::jsonb"
    # occurred_at is part of the table's key, so a known event id is looked for by itself
    known = "EXISTS (SELECT FROM feed.interactions i WHERE i.event_id = s.event_id)"
    # an id that is given may equal one that is derived: then the key must be there
    unique = not {"event_id", "nth"} <= set(good.columns)
    restore = _drop_indexes(conn) if empty and unique and len(good) >= INDEX_LATER else []
    done = conn.execute(
        f"INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at, metadata) "
        f"SELECT event_id, user_id, item_id, type, occurred_at, metadata FROM ("
        f"SELECT {event_id} AS event_id, user_id, item_id, type, occurred_at, "
        f"{metadata} AS metadata FROM staging_interactions) s "
        f"{'' if empty else f'WHERE NOT {known}'} "
        f"{'' if restore else 'ON CONFLICT DO NOTHING'}",
        {"shift": shift},
    )
    for statement in restore:
        conn.execute(statement)
    counts.inserted = done.rowcount
    counts.duplicate += len(good) - done.rowcount


def _drop_indexes(conn: psycopg.Connection) -> list[str]:
    """Drop the key and the indexes of feed.interactions; the statements that make them again."""
    # no other writer gets between, and readers see the empty table once more at most
    conn.execute("LOCK TABLE feed.interactions IN ACCESS EXCLUSIVE MODE")
    constraints = conn.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = 'feed.interactions'::regclass AND contype = 'p'"
    ).fetchall()
    indexes = conn.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = 'feed.interactions'::regclass AND NOT indisprimary"
    ).fetchall()
    for name, _ in constraints:
        conn.execute(f"ALTER TABLE feed.interactions DROP CONSTRAINT {name}")
    for name, _ in indexes:
        conn.execute(f"DROP INDEX {name}")
    return [
        *(f"ALTER TABLE feed.interactions ADD CONSTRAINT {n} {text}" for n, text in constraints),
        *(text.replace(" ON ONLY ", " ON ") for _, text in indexes),
    ]


def _date(conn: psycopg.Connection, entity: Entity) -> None:
    """New rows without a created_at get the time of their first interaction."""
    name = "user_id" if entity == "users" else "item_id"
    # now() is the start of this transaction: the default, which only its own rows can have
    conn.execute(
        f"UPDATE feed.{entity} SET created_at = first.seen FROM ("
        f"SELECT {name} AS id, min(occurred_at) AS seen FROM staging_interactions GROUP BY {name}"
        f") AS first WHERE {entity}.id = first.id AND {entity}.created_at = now()"
    )


def _imply(conn: psycopg.Connection, entity: Entity, report: LoadReport) -> None:
    """A bare row for each user or item that only interactions name, seen first at the first."""
    name = "user_id" if entity == "users" else "item_id"
    done = conn.execute(
        f"INSERT INTO feed.{entity} (id, created_at) "
        f"SELECT {name}, min(occurred_at) FROM staging_interactions "
        f"WHERE {name} IS NOT NULL GROUP BY {name} ON CONFLICT DO NOTHING"
    )
    report.entities.setdefault(entity, EntityReport()).implied = done.rowcount


def _staging(entity: Entity) -> sql.Identifier:
    return sql.Identifier(f"staging_{entity}")
