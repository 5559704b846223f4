"""What a worker asks of Postgres: are you there, and calls of the API.

One connection for the feed's own question, a few more for calls; all are used only from the
event loop. Nothing here waits longer than its timeout, whatever Postgres does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, LiteralString, TypeVar

import psycopg

from storage.embedded import EmbeddedPostgres, EmbeddedPostgresError
from storage.settings import Settings, with_driver

log = logging.getLogger("feedwright.serving")
T = TypeVar("T")

HEALTH_SECONDS = 1.0
STATEMENT_SECONDS = 2.0
CALL_SECONDS = 2.5  # past this the server hangs: it does not even end the statement
MAX_CALLS = 4

_AWAY = (
    psycopg.OperationalError,  # not there, shut down, out of room, deadlock, statement timeout
    psycopg.InterfaceError,  # the connection was closed meanwhile
    psycopg.errors.ReadOnlySqlTransaction,  # another server has taken over
    OSError,
    EmbeddedPostgresError,
)


class DatabaseAway(RuntimeError):
    """Postgres did not answer in time."""


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
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._calls = asyncio.Semaphore(MAX_CALLS)
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

    async def run(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
        """The result of ``work`` in one transaction; it is rolled back if ``work`` raises.

        Up to ``MAX_CALLS`` run at once, others wait within their time. No pool of a library:
        those try again in the background, later and later, and so come back late.

        Raises:
            DatabaseAway: Postgres fails, a statement takes longer than ``STATEMENT_SECONDS``, or
                all of it longer than ``CALL_SECONDS``. What ``work`` raises is passed on.
        """
        held: list[psycopg.AsyncConnection[Any]] = []

        async def call() -> T:
            async with self._calls, self._lent(held) as connection, connection.transaction():
                return await work(connection)

        try:
            return await _within(CALL_SECONDS, call())
        except asyncio.CancelledError:  # nobody waits for it: it must not keep its place either
            for connection in held:
                connection.pgconn.finish()
            raise
        except TimeoutError as error:
            for connection in held:
                connection.pgconn.finish()
            raise _away(f"not done within {CALL_SECONDS:g} s") from error
        except _AWAY as error:
            raise _away(" ".join(str(error).split())) from error

    @contextlib.asynccontextmanager
    async def _lent(
        self, held: list[psycopg.AsyncConnection[Any]]
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection that works, noted in ``held``; an idle one if there is one."""
        while self._idle:
            connection = self._idle.pop()
            held.append(connection)
            try:
                await connection.execute("")  # Postgres may have been restarted
                break
            except psycopg.OperationalError:
                connection.pgconn.finish()
        else:
            connection = await psycopg.AsyncConnection.connect(
                self._address(), autocommit=True, application_name="feedwright api"
            )
            held.append(connection)
            milliseconds = f"{STATEMENT_SECONDS * 1000:.0f}"
            await connection.execute(
                "SELECT set_config('statement_timeout', %s, false),"
                " set_config('TimeZone', 'UTC', false)",
                (milliseconds,),
            )
        try:
            yield connection
        finally:
            if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                self._idle.append(connection)
            else:  # broken, or left in the middle of something
                connection.pgconn.finish()

    async def close(self) -> None:
        for connection in (self._connection, *self._idle):
            if connection is not None:
                await connection.close()
        self._connection = None
        self._idle.clear()

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


def _away(why: str) -> DatabaseAway:
    log.warning("database call failed", extra={"detail": why})
    return DatabaseAway(why)


async def _within(seconds: float, work: Awaitable[T]) -> T:
    """The result of ``work``, or TimeoutError on the dot.

    ``asyncio.timeout`` would wait until a cancelled query is over, which a server that
    hangs never tells.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:  # in time, too late, or whoever waits was cancelled
        if not task.done():
            task.cancel()
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
    if task.cancelled() or not task.done():
        raise TimeoutError
    return task.result()
