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

from serving.postgres.connection import ServingConnection
from storage.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
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
        self._connection: ServingConnection | None = None
        self._idle: list[ServingConnection] = []
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

    async def run(self, work: Callable[[ServingConnection], Awaitable[T]]) -> T:
        """The result of ``work`` in one transaction; it is rolled back if ``work`` raises.

        Up to ``MAX_CALLS`` run at once, others wait within their time. No pool of a library:
        those try again in the background, later and later, and so come back late.

        Raises:
            DatabaseAway: Postgres fails, a statement takes longer than ``STATEMENT_SECONDS``, or
                all of it longer than ``CALL_SECONDS``. What ``work`` raises is passed on.
        """
        try:
            async with (
                asyncio.timeout(CALL_SECONDS),
                self._calls,
                self._lent() as connection,
                connection.transaction(),
            ):
                return await work(connection)
        except TimeoutError as error:
            raise _away(f"not done within {CALL_SECONDS:g} s") from error
        except _AWAY as error:
            raise _away(" ".join(str(error).split())) from error

    @contextlib.asynccontextmanager
    async def _lent(self) -> AsyncIterator[ServingConnection]:
        """A connection that works; an idle one if there is one."""
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.execute("")  # Postgres may have been restarted
                break
            except psycopg.OperationalError:
                connection.pgconn.finish()
        else:
            connection = await ServingConnection.connect(
                self._address(), autocommit=True, application_name="feedwright api"
            )
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

        try:
            async with asyncio.timeout(seconds):
                if self._connection is None or self._connection.closed:
                    self._connection = await ServingConnection.connect(
                        self._address(), autocommit=True, application_name="feedwright feed"
                    )
                cursor = await self._connection.execute(query, parameters)
                return await cursor.fetchone()
        except TimeoutError as error:
            self._drop()
            raise DatabaseAway(f"no answer within {seconds} s") from error
        except (psycopg.Error, OSError, EmbeddedPostgresError) as error:
            self._drop()
            raise DatabaseAway(" ".join(str(error).split())) from error

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
