"""Loading a log into Postgres: checked rows by COPY into staging tables, then one INSERT each.

What is loaded is loaded in one transaction: a failure loads nothing, and loading the same log
again adds nothing. Memory does not grow with the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

import psycopg
from psycopg import sql

from storage.events.table import insert_staged
from storage.loading.log import Log
from storage.loading.staging import REFUSED, Progress, Staged, staged
from storage.loading.values.columns import Entity

LOAD_LOCK = 0x6C_6F_61_64  # key of the advisory lock; "load" in ASCII

# Cells of an upsert that a file leaves empty; the tables do not take null there.
_DEFAULTS = {
    "tags": "'{}'",
    "attributes": "'{}'",
    "status": "'published'",
    "created_at": "now()",
}
_FITTING = {  # what is there of a pair of which the log has the other one
    "price_min": "CASE WHEN t.price_min > excluded.price_max THEN NULL ELSE t.price_min END",
    "price_max": "CASE WHEN t.price_max < excluded.price_min THEN NULL ELSE t.price_max END",
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
            name for name, each in self.entities.items() if each.read and each.read == each.rejected
        ]

    @property
    def rejected(self) -> int:
        """Rows refused in all; they are in feed.interactions_rejected."""
        return sum(report.rejected for report in self.entities.values())


def load(conn: psycopg.Connection, log: Log, *, progress: Progress | None = None) -> LoadReport:
    """Check ``log`` and load it; what is loaded is committed.

    Rows that are refused go to feed.interactions_rejected with their reason. Users,
    items and owners that are there already are updated, in the columns that the log
    has; interactions that are there already are left as they are. A new user or item
    whose created_at the log does not tell is as old as its first interaction in the log.

    Args:
        conn: a connection to a migrated database, outside a transaction.
        progress: called with (entity, rows done, rows in all or 0) as rows are read.

    Raises:
        LoadError: a file cannot be read to its end.
        psycopg.Error: the database failed. After both nothing is loaded.
    """
    started = monotonic()
    report = LoadReport()
    with staged(conn, log, progress) as rows_of:
        # By itself: to make a partition locks readers out, and that until the commit.
        months = sorted(month for each in rows_of.values() for month in each.months)
        conn.execute(
            "SELECT feed.ensure_interaction_partitions(VARIADIC %s::timestamptz[])", [months]
        )
        conn.commit()
        with conn.transaction():
            conn.execute("SELECT pg_advisory_xact_lock(%s)", [LOAD_LOCK])
            for entity, rows in rows_of.items():
                report.entities[entity] = _counted(rows)
                if not rows.good:
                    continue
                if entity == "interactions":
                    _load_interactions(conn, log, rows, report)
                else:
                    _upsert(conn, entity, rows.columns, report.entities[entity])
            _keep_refused(conn)
            for entity in report.entities:
                conn.execute(sql.SQL("ANALYZE feed.{}").format(sql.Identifier(entity)))
    report.seconds = monotonic() - started
    return report


def _counted(rows: Staged) -> EntityReport:
    return EntityReport(
        read=rows.read,
        duplicate=rows.duplicates,
        rejected=rows.refused,
        reasons=dict(sorted(rows.reasons.items(), key=lambda reason: -reason[1])),
    )


def _load_interactions(
    conn: psycopg.Connection, log: Log, rows: Staged, report: LoadReport
) -> None:
    counts = report.entities["interactions"]
    inserted, taken = insert_staged(conn, rows, log.source("interactions"), log.clock_shift)
    counts.inserted = inserted
    counts.rejected += sum(taken.values())
    counts.reasons |= taken
    counts.duplicate += rows.good - inserted - sum(taken.values())
    for implied in ("users", "items"):
        _imply(conn, implied, report)


def _keep_refused(conn: psycopg.Connection) -> None:
    """A row that is kept already is not kept twice."""
    columns = "entity, source, row_number, reason, raw, user_ids"
    conn.execute(
        f"INSERT INTO feed.interactions_rejected ({columns}) SELECT {columns} FROM {REFUSED}"
        " ORDER BY entity, row_number ON CONFLICT (raw_hash, reason) DO NOTHING"
    )


def _upsert(
    conn: psycopg.Connection, entity: Entity, columns: list[str], counts: EntityReport
) -> None:
    """Insert new rows; update those that differ, in the columns that the log has."""
    values = [
        f"coalesce({name}, {_DEFAULTS[name]})" if name in _DEFAULTS else name for name in columns
    ]
    # the first time that something was seen stays, whatever a later export says
    new = {
        name: f"least(t.{name}, excluded.{name})" if name == "created_at" else f"excluded.{name}"
        for name in columns
        if name != "id"
    }
    priced = _FITTING.keys() & new.keys()
    if len(priced) == 1:
        new |= {name: _FITTING[name] for name in _FITTING.keys() - priced}
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
        f"WITH written AS (INSERT INTO feed.{entity} AS t ({', '.join(columns)}) "
        f"SELECT {', '.join(values)} FROM staging_{entity} "
        f"ON CONFLICT (id) {clause} RETURNING xmax = 0 AS fresh) "
        f"SELECT count(*) FILTER (WHERE fresh), count(*), "
        f"(SELECT count(*) FROM staging_{entity}) FROM written"
    )
    inserted, written, staged = conn.execute(query).fetchone() or (0, 0, 0)
    counts.inserted, counts.updated = inserted, written - inserted
    counts.duplicate += staged - written


def _imply(conn: psycopg.Connection, entity: Entity, report: LoadReport) -> None:
    """A bare row for each user or item that only interactions name; those, and rows that are new
    without a created_at, are as old as their first interaction."""
    name = "user_id" if entity == "users" else "item_id"
    # now() is the start of this transaction: the default, which only its own rows can have
    done = conn.execute(
        f"WITH first AS MATERIALIZED ("
        f"SELECT {name} AS id, min(occurred_at) AS seen FROM staging_interactions "
        f"WHERE {name} IS NOT NULL GROUP BY {name}), "
        f"dated AS (UPDATE feed.{entity} AS t SET created_at = first.seen FROM first "
        f"WHERE t.id = first.id AND t.created_at = now()) "
        f"INSERT INTO feed.{entity} (id, created_at) "
        f"SELECT id, seen FROM first ON CONFLICT DO NOTHING"
    )
    report.entities.setdefault(entity, EntityReport()).implied = done.rowcount
