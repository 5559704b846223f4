"""What was noted, read back newest first: the audit log, alerts, guardrail reports, withdrawals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]

_COLUMNS: dict[LiteralString, LiteralString] = {
    "audit_log": "id, occurred_at, actor, action, detail",
    "alerts": "id, raised_at, kind, severity, title, detail, attempts, delivered_at, given_up_at,"
    " last_error",
    "guardrail_reports": "id, computed_at, window_start, window_end, variant, model_version,"
    " experiment, arm, impressions, clicks, applies, ctr, conversion, status, detail",
}


@dataclass(frozen=True)
class Page:
    """
    Attributes:
        before: of the next page; None: this is the last.
    """

    rows: Sequence[Row]
    before: int | None


async def audit_lines(
    connection: psycopg.AsyncConnection[Any], limit: int, before: int | None = None
) -> Page:
    """Lines of the audit log with ids below ``before``."""
    return await _page(connection, "audit_log", limit, before)


async def alerts(
    connection: psycopg.AsyncConnection[Any], limit: int, before: int | None = None
) -> Page:
    """Alerts, and what became of their delivery."""
    return await _page(connection, "alerts", limit, before)


async def guardrail_reports(
    connection: psycopg.AsyncConnection[Any], limit: int, before: int | None = None
) -> Page:
    """Verdicts of the guardrails."""
    return await _page(connection, "guardrail_reports", limit, before)


async def withdrawn(connection: psycopg.AsyncConnection[Any]) -> list[Row]:
    """Versions that nothing may put live, the latest first; ``done_at`` None: MLflow was away."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT model_version AS version, withdrawn_at, actor, reason, done_at"
            " FROM feed.withdrawn_versions ORDER BY withdrawn_at DESC LIMIT 100"
        )
        return await cursor.fetchall()


def first_minute(connection: psycopg.Connection, start: datetime) -> datetime | None:
    """The first minute from ``start`` on in which something was served; None: there is none."""
    row = connection.execute(
        "SELECT min(minute) FROM feed.served_minutes WHERE minute >= %s", (start,)
    ).fetchone()
    return row[0] if row else None


async def _page(
    connection: psycopg.AsyncConnection[Any],
    table: LiteralString,
    limit: int,
    before: int | None,
) -> Page:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS[table]} FROM feed.{table}"
            " WHERE id < coalesce(%s, 9223372036854775807) ORDER BY id DESC LIMIT %s",
            (before, limit + 1),
        )
        rows = await cursor.fetchall()
    shown = rows[:limit]
    return Page(shown, shown[-1]["id"] if len(rows) > limit else None)
