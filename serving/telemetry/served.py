"""What this worker served, counted by the minute and added to Postgres every few seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from serving.postgres.database import Database, DatabaseAway
from storage.operations.served import BUCKETS, SAVE, bucket_of

log = logging.getLogger("feedwright.serving")

FLUSH_SECONDS = 5.0
MAX_ROWS = 2_000
"""Most rows that wait for Postgres, some hours of them; then the oldest go."""

Key = tuple[int, str, str, str]
"""Minute (epoch seconds), variant, model version, fallback reason."""


class Served:
    """Used from one event loop."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._rows: dict[Key, list[Any]] = {}

    def count(
        self, variant: str, model_version: str | None, fallback_reason: str | None, seconds: float
    ) -> None:
        """A page was answered. A microsecond."""
        minute = int(self._clock()) // 60 * 60
        key = minute, variant, model_version or "", fallback_reason or ""
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = [0, 0.0, [0] * BUCKETS]
        row[0] += 1
        row[1] += seconds
        row[2][bucket_of(seconds)] += 1

    async def run(self) -> None:
        """Add what was counted to Postgres, for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Add what was counted to Postgres; while it is away, it is kept.

        When Postgres takes it and then does not say so, it is counted twice.
        """
        rows, self._rows = self._rows, {}
        if not rows:
            return
        new = [
            dict(
                zip(
                    ("minute", "variant", "model_version", "fallback_reason",
                     "requests", "seconds", "buckets"),
                    (*key, *row),
                    strict=True,
                )
            )
            for key, row in rows.items()
        ]  # fmt: skip

        async def save(connection: psycopg.AsyncConnection[Any]) -> None:
            await connection.execute(SAVE, (Jsonb(new),))

        try:
            await self._database.run(save)
        except DatabaseAway:
            self._keep(rows)
        except psycopg.Error as error:  # it would fail again and again
            log.error("what was served is not counted", exc_info=error)

    def _keep(self, rows: dict[Key, list[Any]]) -> None:
        """Put back what was not added, before what was counted meanwhile."""
        for key, row in self._rows.items():
            kept = rows.setdefault(key, [0, 0.0, [0] * BUCKETS])
            kept[0] += row[0]
            kept[1] += row[1]
            kept[2] = [count + other for count, other in zip(kept[2], row[2], strict=True)]
        oldest = sorted(rows)[: max(len(rows) - MAX_ROWS, 0)]
        for key in oldest:
            del rows[key]
        self._rows = rows
