"""What the feed asks of Postgres while it serves: are you there, and who is this user?

One connection a worker, used only from the event loop. Nothing here waits longer than
its timeout, whatever Postgres does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, LiteralString, TypeVar

import psycopg

from storage.embedded import EmbeddedPostgres, EmbeddedPostgresError
from storage.settings import Settings, with_driver

log = logging.getLogger("feedwright.serving")
T = TypeVar("T")

HEALTH_SECONDS = 1.0
LOOKUP_SECONDS = 0.05
FOUND_TTL_SECONDS = 30.0
MISSING_TTL_SECONDS = 5.0
MAX_REMEMBERED = 10_000


class DatabaseAway(RuntimeError):
    """Postgres did not answer in time."""


@dataclass(frozen=True)
class Newcomer:
    """A user who is in the database and not yet in the snapshot."""

    lat: float | None
    lon: float | None
    tags: list[str]


def database_address(settings: Settings) -> str:
    """Address for libpq. Does not start the embedded server: that is not a worker's task.

    Raises:
        EmbeddedPostgresError: the embedded server was never started.
    """
    if settings.database_url is not None:
        return with_driver(settings.database_url)
    return EmbeddedPostgres(settings.postgres_dir).url


class Database:
    """``up`` tells whether Postgres answered when it was last asked."""

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._remembered: dict[str, tuple[float, Newcomer | None]] = {}
        self.up = False
        self.checked = False

    async def watch(self, seconds: float) -> None:
        """Keep ``up`` true to life, for ever."""
        while True:
            await self.check()
            await asyncio.sleep(seconds)

    async def check(self) -> None:
        """Ask once."""
        try:
            await self._ask("SELECT 1", (), HEALTH_SECONDS)
            self._note(True, None)
        except DatabaseAway as error:
            self._note(False, str(error))

    async def newcomer(self, user_id: str) -> Newcomer | None:
        """Place and tags of a user, or None: unknown, or Postgres is away or slow."""
        known = self._remembered.get(user_id)
        if known is not None and known[0] > monotonic():
            return known[1]
        if not self.up:
            return None
        try:
            row = await self._ask(
                "SELECT lat, lon, tags FROM feed.users WHERE id = %s", (user_id,), LOOKUP_SECONDS
            )
        except DatabaseAway:
            return None  # the next check tells whether it is down
        found = Newcomer(*row) if row else None
        self._remember(user_id, found)
        return found

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _ask(
        self, query: LiteralString, parameters: tuple[Any, ...], seconds: float
    ) -> tuple[Any, ...] | None:
        """The first row.

        Raises:
            DatabaseAway: no answer within ``seconds``, or an error.
        """

        async def ask() -> tuple[Any, ...] | None:
            if self._connection is None or self._connection.broken:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._address(), autocommit=True, application_name="feedwright feed"
                )
            cursor = await self._connection.execute(query, parameters)
            return await cursor.fetchone()

        try:
            return await _within(seconds, ask())
        except (psycopg.Error, OSError, EmbeddedPostgresError) as error:
            self._drop()
            raise DatabaseAway(" ".join(str(error).split())) from error
        except TimeoutError as error:
            self._drop()
            raise DatabaseAway(f"no answer within {seconds} s") from error

    def _drop(self) -> None:
        # Closing properly would talk to a server that may not answer.
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None

    def _note(self, up: bool, why: str | None) -> None:
        if up != self.up or not self.checked:
            level = logging.INFO if up else logging.WARNING
            log.log(level, "database %s", "up" if up else "unavailable", extra={"detail": why})
        self.up, self.checked = up, True

    def _remember(self, user_id: str, found: Newcomer | None) -> None:
        while len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        ttl = FOUND_TTL_SECONDS if found else MISSING_TTL_SECONDS
        self._remembered[user_id] = (monotonic() + ttl, found)


async def _within(seconds: float, work: Awaitable[T]) -> T:
    """The result of ``work``, or TimeoutError on the dot.

    ``asyncio.timeout`` would wait until a cancelled query is over, which a server that
    hangs never tells.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        raise TimeoutError
    return task.result()
