"""Up to when everything that was received is there to be read."""

from __future__ import annotations

from datetime import datetime

import psycopg


def settled_until(conn: psycopg.Connection) -> datetime:
    """The moment up to which nothing received can still appear: when the oldest transaction
    that is still open began, else now. ``received_at`` is the start of its transaction, so a
    load that takes an hour commits rows that are an hour old."""
    row = conn.execute(
        "SELECT least(now(), min(xact_start)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    ).fetchone()
    assert row is not None
    return row[0]
