"""Who gets what, as Postgres says: experiments, flags, and versions that nothing may serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg

from models.experiments.assignment import Traffic
from serving.postgres.database import Database, DatabaseAway
from storage.operations.experiments import TRAFFIC, Polled, traffic_of

log = logging.getLogger("feedwright.serving")
WITHDRAWN = 3
"""Column of ``TRAFFIC``."""


class TrafficWatch:
    """Asks once in a while. Used from one event loop, ``now`` from any thread.

    Attributes:
        now: the last that is known; it stays while Postgres is away, and stays the same object
            while nothing changes.
    """

    def __init__(
        self, database: Database, environment: str, changed: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            environment: whose flags and experiments these are.
            changed: called when other versions may be withdrawn.
        """
        self._database = database
        self._environment = environment
        self._changed = changed
        self._row: Any = None
        self._problem: str | None = None
        self.now = Polled(Traffic(), frozenset(), {})

    async def run(self, seconds: float) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(seconds)
            await self.look()

    async def look(self) -> None:
        """Ask once."""
        if not self._database.up:
            return
        try:
            row = await self._database.run(self._read)
            if row != self._row:
                # First and apart: an experiment that cannot be read must not keep them live.
                self.now = replace(self.now, withdrawn=frozenset(row[WITHDRAWN]))
                self._changed()
                self.now, self._row = traffic_of(row), row
            self._problem = None
        except DatabaseAway:  # the log has it
            return
        except Exception as error:  # anything: what is known goes on
            if (problem := repr(error)) != self._problem:
                self._problem = problem
                log.exception("experiments and flags not read")

    async def _read(self, connection: psycopg.AsyncConnection[Any]) -> Any:
        cursor = await connection.execute(TRAFFIC, {"environment": self._environment})
        return await cursor.fetchone()
