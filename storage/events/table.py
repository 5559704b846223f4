"""``staging_interactions`` -> ``feed.interactions``, in the caller's transaction.

An event id that is there already belongs to the event that has it: the same one is left out,
another is refused, as in ``storage.events.store``. A table that is empty is filled without its
indexes.
"""

from __future__ import annotations

from datetime import timedelta

import psycopg

from storage.loading.staging import REFUSED, Staged
from storage.privacy import erasures

INDEX_LATER = 50_000  # rows from which filling an empty table without its indexes pays
INDEX_MEMORY = "256MB"  # for sorting the rows of one index
ANOTHER = "event_id: is another event's"

# Of the rows with ids of their own, those that are other events'. A time that the server gave
# (metadata.clock), or that was shifted, is not the event's own.
_TAKEN = f"""
WITH differing AS (
    SELECT s.ctid, concat_ws(' and ',
        CASE WHEN i.user_id IS DISTINCT FROM s.user_id THEN 'user_id' END,
        CASE WHEN i.item_id IS DISTINCT FROM s.item_id THEN 'item_id' END,
        CASE WHEN i.type <> s.type THEN 'type' END,
        CASE WHEN abs(extract(epoch FROM i.occurred_at - s.occurred_at)) >= 0.001
             AND NOT coalesce(i.metadata ? 'clock', false) AND NOT %(shifted)s
             THEN 'occurred_at' END) AS fields
    FROM staging_interactions AS s
    JOIN feed.event_ids AS e ON e.event_id = s.event_id
    JOIN feed.interactions AS i ON i.event_id = e.event_id AND i.occurred_at = e.occurred_at
), taken AS (
    DELETE FROM staging_interactions AS s USING differing AS d
    WHERE s.ctid = d.ctid AND d.fields <> ''
    RETURNING s.row_number, d.fields, s.user_id,
              (to_jsonb(s) - 'row_number' - 'nth')::text AS raw
)
INSERT INTO {REFUSED} (entity, source, row_number, reason, raw, user_ids)
SELECT 'interactions', %(source)s, row_number, 'event_id: this event_id is another event''s, '
       || 'with another ' || fields || ': give each event an id of its own', raw,
       array_remove(ARRAY[user_id], NULL)
FROM taken
"""


def insert_staged(
    conn: psycopg.Connection, rows: Staged, source: str, shift: timedelta
) -> tuple[int, dict[str, int]]:
    """Insert the staged rows that are new.

    Other writers wait until the transaction ends; readers go on, unless the table is empty.

    Args:
        shift: of the log's clock; ids that are derived do not depend on it.

    Returns:
        How many were inserted; and how many were refused, by reason.
    """
    conn.execute("LOCK TABLE feed.interactions IN SHARE ROW EXCLUSIVE MODE")
    empty = conn.execute("SELECT NOT EXISTS (SELECT FROM feed.interactions)").fetchone() == (True,)
    taken: dict[str, int] = {}
    if rows.given and not empty:
        refused = conn.execute(_TAKEN, {"source": source, "shifted": bool(shift)}).rowcount
        taken = {ANOTHER: refused} if refused else {}
    # an id that is given may equal one that is derived: then the key must be there
    restore: list[str] = []
    if empty and rows.good >= INDEX_LATER and not (rows.given and rows.derived):
        restore = _without_indexes(conn)
    done = conn.execute(_insert(rows, empty, bool(restore)), {"shift": shift})
    for statement in restore:
        conn.execute(statement)
    return done.rowcount, taken


def _insert(rows: Staged, empty: bool, no_key: bool) -> str:
    event_id = "event_id" if "event_id" in rows.columns else "NULL::uuid"
    if rows.derived:
        # the unshifted time in microseconds: the same in every session and at every load
        unshifted = "(extract(epoch FROM occurred_at - %(shift)s) * 1000000)::bigint"
        event_id = (
            f"coalesce({event_id}, md5(ROW(user_id, item_id, type, {unshifted}, nth)::text)::uuid)"
        )
    metadata = "metadata" if "metadata" in rows.columns else "NULL::jsonb"
    is_stored = "EXISTS (SELECT FROM feed.event_ids AS e WHERE e.event_id = s.event_id)"
    return (
        f"INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at, metadata) "
        f"SELECT event_id, user_id, item_id, type, occurred_at, metadata FROM ("
        f"SELECT {event_id} AS event_id, user_id, item_id, type, occurred_at, "
        f"{metadata} AS metadata FROM staging_interactions) s "
        f"{'' if empty else f'WHERE NOT {is_stored}'} "
        f"{'' if no_key else 'ON CONFLICT DO NOTHING'}"
    )


def _without_indexes(conn: psycopg.Connection) -> list[str]:
    """Drop the key and the indexes of feed.interactions, which is empty, and put its triggers
    aside: they would keep all rows twice. Returns the statements that make it as it was.

    ``drop_late`` stays where somebody was erased.
    """
    # no other writer gets between, and readers see the empty table once more at most
    conn.execute("LOCK TABLE feed.interactions IN ACCESS EXCLUSIVE MODE")
    conn.execute(f"SET LOCAL maintenance_work_mem = '{INDEX_MEMORY}'")
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
    restore = [
        *(f"ALTER TABLE feed.interactions ADD CONSTRAINT {n} {text}" for n, text in constraints),
        *(text.replace(" ON ONLY ", " ON ") for _, text in indexes),
        "TRUNCATE feed.event_ids",
        "ALTER TABLE feed.event_ids DROP CONSTRAINT event_ids_pkey",
        "INSERT INTO feed.event_ids SELECT event_id, occurred_at FROM feed.interactions",
        "ALTER TABLE feed.event_ids ADD PRIMARY KEY (event_id)",
    ]
    triggers = ["claim_event_ids"]
    conn.execute("SELECT pg_advisory_xact_lock_shared(%s)", (erasures.LOCK,))
    if conn.execute("SELECT NOT EXISTS (SELECT FROM feed.erasures)").fetchone() == (True,):
        triggers.append("drop_late")
    for name in triggers:
        conn.execute(f"ALTER TABLE feed.interactions DISABLE TRIGGER {name}")
        restore.append(f"ALTER TABLE feed.interactions ENABLE TRIGGER {name}")
    return restore
