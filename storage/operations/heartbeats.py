"""Signs of life of the pipeline's runs, in ``feed.run_heartbeats``: a row while one executes.

Times are the database's, so the clocks of machines and containers may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row

BEAT_SECONDS = 2.0
FORGOTTEN = "1 day"
"""After so long without a beat a row is of nobody: its run was ended by somebody else."""

Order = Literal["go on", "stop", "over"]
"""What a run is to do: end itself, or end at once since it was declared dead."""


@dataclass(frozen=True)
class Beat:
    """The last sign of life of a run, and seconds since then; negative if the clock went back."""

    beaten_at: datetime
    age: float
    host: str
    pid: int


def application_name(run_id: str) -> str:
    """What the connections of a run are called in ``pg_stat_activity``."""
    return f"feedwright run {run_id}"


def begin(conn: psycopg.Connection, run_id: str, host: str, pid: int) -> None:
    """The first sign of life."""
    conn.execute(
        "DELETE FROM feed.run_heartbeats WHERE run_id = %s"
        f" OR beaten_at < now() - interval '{FORGOTTEN}'",
        (run_id,),
    )
    conn.execute(
        "INSERT INTO feed.run_heartbeats (run_id, host, pid) VALUES (%s, %s, %s)",
        (run_id, host, pid),
    )


def beat(conn: psycopg.Connection, run_id: str) -> Order:
    """The next sign of life."""
    row = conn.execute(
        "UPDATE feed.run_heartbeats SET beaten_at = clock_timestamp() WHERE run_id = %s"
        " RETURNING stop",
        (run_id,),
    ).fetchone()
    if row is None:
        return "over"
    return "stop" if row[0] else "go on"


def end(conn: psycopg.Connection, run_id: str) -> None:
    """The run is over, or shall learn at its next beat that it is."""
    conn.execute("DELETE FROM feed.run_heartbeats WHERE run_id = %s", (run_id,))


def ask_to_stop(conn: psycopg.Connection, run_id: str, within: float) -> bool:
    """Ask a run to end itself; False: it gave no sign of life within so many seconds."""
    row = conn.execute(
        "UPDATE feed.run_heartbeats SET stop = true WHERE run_id = %s"
        " AND abs(extract(epoch FROM clock_timestamp() - beaten_at)) < %s RETURNING run_id",
        (run_id, within),
    ).fetchone()
    return row is not None


def last_beat(conn: psycopg.Connection, run_id: str) -> Beat | None:
    """None: it gave none yet, or is over."""
    with conn.cursor(row_factory=class_row(Beat)) as cursor:
        return cursor.execute(
            "SELECT beaten_at, host, pid,"
            " extract(epoch FROM clock_timestamp() - beaten_at)::float8 AS age"
            " FROM feed.run_heartbeats WHERE run_id = %s",
            (run_id,),
        ).fetchone()


def executing(conn: psycopg.Connection) -> set[str]:
    """Runs that gave a sign of life in the last minute; before the first migration, none."""
    if conn.execute("SELECT to_regclass('feed.run_heartbeats')").fetchone() == (None,):
        return set()
    rows = conn.execute(
        "SELECT run_id FROM feed.run_heartbeats"
        " WHERE beaten_at BETWEEN now() - interval '1 minute' AND now() + interval '1 minute'"
    )
    return {run_id for (run_id,) in rows}


def cancel_statements(conn: psycopg.Connection, run_id: str, begun_before: datetime) -> None:
    """Cancel what the run asked Postgres before that moment, and what it still waits for."""
    conn.execute(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        " AND state = 'active' AND query_start <= %s AND pid <> pg_backend_pid()",
        (application_name(run_id), begun_before),
    )


def end_connections(conn: psycopg.Connection, run_id: str) -> None:
    """End the connections that a dead run left: their statements, transactions and locks."""
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = %s AND pid <> pg_backend_pid()",
        (application_name(run_id),),
    )


def now(conn: psycopg.Connection) -> datetime:
    """The database's clock."""
    row = conn.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]
