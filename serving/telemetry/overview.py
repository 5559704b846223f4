"""The overview of Postgres for metrics, kept at hand: nobody who watches waits for it."""

from __future__ import annotations

import asyncio
import logging

from serving.postgres.database import Database, DatabaseAway
from storage.operations.overview import Overview, overview

log = logging.getLogger("feedwright.serving")
EVERY_SECONDS = 15.0


class OverviewWatch:
    """
    Attributes:
        now: what Postgres said last; None while it does not answer.
    """

    def __init__(self, database: Database, environment: str) -> None:
        self._database = database
        self._environment = environment
        self.now: Overview | None = None

    async def run(self) -> None:
        """Ask, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Ask once."""
        try:
            self.now = await self._database.run(lambda conn: overview(conn, self._environment))
        except DatabaseAway:
            self.now = None
        except Exception:  # anything: a number that is missing must not end the watch
            self.now = None
            log.exception("overview not read")
