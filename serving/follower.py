"""Keeps a worker's catalogue as it is in Postgres: what changed is in it a second later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import psycopg

from models.live_catalogue import LiveCatalogue
from models.profile import Profile
from models.viewer import Indices
from serving.metrics import CHANGES
from storage.changes import PositionLost, read_changes, read_everything
from storage.embedded import EmbeddedPostgresError

log = logging.getLogger("feedwright.serving")

AT_ONCE = 200
"""Ids taken in between two requests: some milliseconds."""
TRENDING_SECONDS = 30.0
BEGINNING = "3:3:"
"""Position before any change, for a snapshot that does not know its own."""


class Follower:
    """Reads the change log and applies it to catalogues. Used from one event loop.

    Attributes:
        lag: seconds since the log was last read to its end; None: never yet.
    """

    def __init__(
        self,
        address: Callable[[], str],
        current: Callable[[], LiveCatalogue | None],
        profile: Callable[[], Profile],
        *,
        seconds: float,
    ) -> None:
        self._address = address
        self._current = current
        self._profile = profile
        self._seconds = seconds
        self._soon = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._connection: psycopg.AsyncConnection | None = None
        self._trending_at = -TRENDING_SECONDS
        self._trending_of: LiveCatalogue | None = None
        self.read_at: float | None = None

    async def run(self) -> None:
        """Follow, for ever."""
        while True:
            live = self._current()
            if live is not None:
                await self.catch_up(live)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._soon.wait(), self._seconds)
            self._soon.clear()

    def soon(self) -> None:
        """Something was written through this worker: do not wait for the next look."""
        self._soon.set()

    async def catch_up(self, live: LiveCatalogue) -> bool:
        """Apply all that is committed by now; False: Postgres does not answer."""
        async with self._one_at_a_time:
            try:
                connection = await self._connected()
                await self._apply(connection, live)
                await self._refresh_trending(connection, live)
            except (psycopg.Error, OSError, EmbeddedPostgresError) as error:
                log.debug("change log not read", extra={"detail": str(error)})
                await self.close()
                return False
            self.read_at = asyncio.get_running_loop().time()
            return True

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._address(), autocommit=True, application_name="feedwright follower"
            )
        return self._connection

    async def _apply(self, connection: psycopg.AsyncConnection, live: LiveCatalogue) -> None:
        checks = self._profile().checks
        try:
            since = live.position or BEGINNING
            async for changes in read_changes(connection, since, limit=AT_ONCE, checks=checks):
                if changes.count:
                    live.apply(changes)
                    CHANGES.inc(changes.count)
                    await asyncio.sleep(0)  # requests come first
                live.position = changes.position
        except PositionLost as error:
            log.warning("reading the whole catalogue", extra={"detail": str(error)})
            there: set[str] = set()
            position = None
            async for changes in read_everything(connection, limit=AT_ONCE, checks=checks):
                live.apply(changes)
                position = changes.position
                there.update(item.id for item in changes.items)
                await asyncio.sleep(0)
            live.remove_all_but(there)
            live.position = position

    async def _refresh_trending(
        self, connection: psycopg.AsyncConnection, live: LiveCatalogue
    ) -> None:
        now = asyncio.get_running_loop().time()
        if live is self._trending_of and now - self._trending_at < TRENDING_SECONDS:
            return
        self._trending_of, self._trending_at = live, now
        rows = await (
            await connection.execute(
                "SELECT window_hours, item_id, score FROM feed.trending_items"
                " WHERE rank <= 1000 ORDER BY window_hours, rank"
            )
        ).fetchall()
        by_window: dict[int, tuple[list[int], list[float]]] = {}
        for window, item_id, score in rows:
            row = live.find_item(item_id)
            if row is not None:
                found = by_window.setdefault(window, ([], []))
                found[0].append(row)
                found[1].append(score)
        if by_window:
            live.set_trending({window: _arrays(*found) for window, found in by_window.items()})


def _arrays(rows: list[int], scores: list[float]) -> tuple[Indices, np.ndarray]:
    return np.array(rows, np.int32), np.array(scores, np.float32)
