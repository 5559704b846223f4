"""Ingest of one worker: checked, durable, each event once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from serving.ingest.checking import Checked, Clock, check
from serving.ingest.connection import Signalled
from serving.ingest.metrics import LAG_SECONDS
from serving.ingest.spool import MAX_BYTES, Spool
from serving.ingest.writer import Writer
from storage.events.store import Event, Stored

RETENTION = timedelta(days=400)


class Ingest:
    """Start it in the worker's own process, on its event loop: a fork must not take it along."""

    def __init__(
        self,
        address: Callable[[], str],
        folder: Path,
        *,
        retention: timedelta = RETENTION,
        types: Callable[[], InteractionTypes] = lambda: DEFAULT_TYPES,
        complete: Callable[[list[Event]], None] = lambda events: None,
        committed: Callable[[set[str]], None] = lambda user_ids: None,
        signalled: Signalled | None = None,
        spool_bytes: int = MAX_BYTES,
    ) -> None:
        """
        Args:
            address: of Postgres, for libpq; asked again for each connection.
            folder: of the spool; workers of a machine share it.
            retention: how long events are kept: a time before that is not believed.
            types: of interactions, as the profile now has them.
            complete: may fill in metadata of events, before they are written.
            committed: called with the users of events that are in Postgres now.
            signalled: called in the transaction that stores them, with the users of events that
                change what they should be shown; see ``storage.catalogue.refresh_queue.request``.
            spool_bytes: of all workers of the machine.
        """
        self._retention = retention
        self.types = types
        self._complete = complete
        self.tell_committed = committed
        spool = Spool(folder, spool_bytes)
        self._writer = Writer(address, spool, self._on_committed, signalled, types)

    async def start(self) -> None:
        await self._writer.start()

    async def close(self) -> None:
        """Write what waits, and stop."""
        await self._writer.close()

    def room(self) -> contextlib.AbstractContextManager[Callable[[int], None]]:
        """See ``Writer.room``."""
        return self._writer.room()

    def clock(self) -> Clock:
        """What times are believed now."""
        return Clock.at(datetime.now(UTC), self._retention)

    async def check(self, entries: list[Any]) -> Checked:
        """Tell events from what is none."""
        clock = self.clock()
        checked = await check(entries, clock, self.types())
        oldest = min((event["occurred_at"] for event in checked.events), default=None)
        if oldest is not None:
            lag = clock.now - datetime.fromisoformat(oldest)
            LAG_SECONDS.observe(max(lag.total_seconds(), 0.0))
        return checked

    async def write(self, checked: Checked) -> Stored:
        """Returns once all of it is durable; places are those among ``checked.events``.

        Raises:
            Busy, NoRoom: nothing was kept.
        """
        if not checked.events and not checked.refused:
            return Stored()
        self._complete(checked.events)
        return await self._writer.write(checked.events, checked.refused)

    def _on_committed(self, events: list[Event]) -> None:
        # An impression changes nothing of what a user should be shown.
        impressions = self.types().impressions
        users = {
            user_id
            for event in events
            if event["type"] not in impressions and (user_id := event["user_id"]) is not None
        }
        if users:
            self.tell_committed(users)
