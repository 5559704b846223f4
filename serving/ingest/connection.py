"""One connection to Postgres, over which events are written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

import psycopg

from models.profile.interaction_types import InteractionTypes
from serving.postgres.connection import ServingConnection
from storage.catalogue.entities import MAX_REASON
from storage.catalogue.refresh_queue import is_meaningful
from storage.events import store as events
from storage.events.store import Also, Connection, Event, Refusal, RefusedEvent, Stored
from storage.postgres.embedded import EmbeddedPostgresError

log = logging.getLogger("feedwright.serving")

STATEMENT_SECONDS = 2.0
CALL_SECONDS = 2.5  # past this the server hangs: it does not even end the statement
CONNECT_SECONDS = 2

# One of the rows is at fault. Anything else is about the server or the tables, and may pass.
_ROWS_FAULT = (psycopg.DataError, psycopg.IntegrityError)


Signalled = Callable[[Connection, Collection[str]], Awaitable[None]]


class Away(RuntimeError):
    """Postgres does not take events now. It may have taken these: write them again."""


class EventConnection:
    """Made anew after each failure; one call at a time."""

    def __init__(
        self,
        address: Callable[[], str],
        signalled: Signalled | None,
        types: Callable[[], InteractionTypes],
    ) -> None:
        """
        Args:
            signalled, types: see ``Ingest``.
        """
        self._types = types
        self._address = address
        self._signalled = signalled
        self._connection: Connection | None = None
        self._months: set[str] = set()

    async def store(self, given: Sequence[Event], refused: Sequence[RefusedEvent]) -> Stored:
        """Store events; see ``storage.events.store.store``. What Postgres itself refuses is refused
        too, and kept.

        Raises:
            Away: nothing is known of what is stored.
        """
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await self._store(given, refused)
        except TimeoutError as error:
            self.drop()
            raise Away(f"no answer within {CALL_SECONDS} s") from error
        except (psycopg.Error, OSError, EmbeddedPostgresError) as error:
            self.drop()
            raise Away(" ".join(str(error).split())) from error

    def drop(self) -> None:
        """Without a word to the server, which may not answer. Not while ``store`` runs."""
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None

    async def _store(self, given: Sequence[Event], refused: Sequence[RefusedEvent]) -> Stored:
        connection = await self._connected()
        wanted = events.months(given) - self._months
        if wanted:
            await events.ensure_partitions(connection, wanted)
            self._months |= wanted
        try:
            return await events.store(connection, given, refused, self._also(given))
        except _ROWS_FAULT as error:
            return await self._without_the_bad(given, refused, error)

    def _also(self, given: Sequence[Event]) -> Also | None:
        tell, types = self._signalled, self._types()
        users = {
            user_id
            for event in given
            if (user_id := event["user_id"]) is not None
            and is_meaningful(event["type"], event["metadata"], types)
        }
        return None if tell is None or not users else lambda connection: tell(connection, users)

    async def _without_the_bad(
        self, given: Sequence[Event], refused: Sequence[RefusedEvent], error: psycopg.Error
    ) -> Stored:
        """By halves, so that a bad row is refused alone; checking should have found it."""
        if not given:
            raise error
        if len(given) > 1:
            half = len(given) // 2
            stored = await self._store(given[:half], refused)
            stored.add(await self._store(given[half:], ()), range(half, len(given)))
            return stored
        reason = f"Postgres refused it: {error.diag.message_primary or error}"[:MAX_REASON]
        log.error("event that passed checking refused", extra={"detail": reason})
        kept = events.as_refused(given[0], reason)
        await self._store((), [*refused, kept])
        return Stored(refused={0: Refusal("", reason)})

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._months.clear()
            self._connection = await ServingConnection.connect(
                self._address(),
                autocommit=True,
                application_name="feedwright ingest",
                connect_timeout=CONNECT_SECONDS,
            )
            await self._connection.execute(
                "SELECT set_config('statement_timeout', %s, false)",
                (f"{STATEMENT_SECONDS * 1000:.0f}",),
            )
            # An answer means that it is durable, whatever the database's own default is.
            await self._connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
        return self._connection
