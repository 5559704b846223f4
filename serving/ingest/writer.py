"""Group commit: what waits while a group is written makes up the next one.

One task writes; there is no delay to make groups larger. When Postgres is away a group goes to
the spool instead, and so does all that comes until the spool is replayed: what a worker took
is written in the order in which it came.

Nothing grows without bound: what waits is counted in events and in bytes, and more is turned
away. A caller who leaves changes nothing for others; what they sent is written all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypedDict

import orjson

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from serving.ingest.connection import Away, EventConnection, Signalled
from serving.ingest.metrics import (
    COMMIT_SECONDS,
    GROUP_EVENTS,
    REPLAYED,
    TURNED_AWAY,
    WAITING,
)
from serving.ingest.spool import Spool, SpoolFull
from storage.events.store import Event, RefusedEvent, Stored

log = logging.getLogger("feedwright.serving")

GROUP_ROWS = 4_000
"""Entries that are written together: about 0.2 s of work for Postgres."""
MAX_ROWS = 40_000
"""Entries that wait: about 2 s of work for Postgres."""
MAX_BYTES = 32 * 2**20
GROUP_BYTES = 2 * 2**20
"""What is written in one call, as JSON: what Postgres surely takes before the call is given up."""
REPLAY_BYTES = 512 * 2**10
AGAIN_SECONDS = 0.25
ADOPT_SECONDS = 5.0
ANSWER_SECONDS = 4.0
"""After which a caller is asked to come again: what is written all the same is then a duplicate."""
SAID_SECONDS = 60.0
"""A spool that waits says so each minute."""

Committed = Callable[[list[Event]], None]


class Busy(RuntimeError):
    """Too much waits already: come again in a second."""


class NoRoom(RuntimeError):
    """Postgres is away and the spool takes no more, or the worker stops."""


class _Record(TypedDict):
    """A record of the spool."""

    events: list[Event]
    refused: list[RefusedEvent]


@dataclass(eq=False)
class _Call:
    """What one caller waits for."""

    events: list[Event]
    refused: list[RefusedEvent]
    size: int  # bytes of JSON
    done: asyncio.Future[Stored]

    @property
    def rows(self) -> int:
        return len(self.events) + len(self.refused)


class _Group:
    """Calls that are written together."""

    def __init__(self, calls: list[_Call]) -> None:
        self.calls = calls
        self.events = [event for call in calls for event in call.events]
        self.refused = [entry for call in calls for entry in call.refused]

    def parts(self) -> list[tuple[slice, slice]]:
        """Slices of events and of refused entries, each of about ``GROUP_BYTES``."""
        count = max(1, math.ceil(sum(call.size for call in self.calls) / GROUP_BYTES))
        steps = [math.ceil(len(rows) / count) for rows in (self.events, self.refused)]
        return [
            (slice(n * steps[0], (n + 1) * steps[0]), slice(n * steps[1], (n + 1) * steps[1]))
            for n in range(count)
        ]

    def record(self, events: slice, refused: slice) -> bytes:
        """A part of it, as the spool keeps it."""
        record: _Record = {"events": self.events[events], "refused": self.refused[refused]}
        return orjson.dumps(record)

    def tell(self, stored: Stored) -> None:
        """Answer the callers."""
        begin = 0
        for call in self.calls:
            end = begin + len(call.events)
            if not call.done.done():  # else its caller has left
                call.done.set_result(stored.part(begin, end))
            begin = end

    def fail(self, error: Exception) -> None:
        for call in self.calls:
            if not call.done.done():
                call.done.set_exception(error)


class Writer:
    """Writes events durably; one a worker. Use it on one event loop."""

    def __init__(
        self,
        address: Callable[[], str],
        spool: Spool,
        committed: Committed = lambda events: None,
        signalled: Signalled | None = None,
        types: Callable[[], InteractionTypes] = lambda: DEFAULT_TYPES,
    ) -> None:
        """
        Args:
            address: of Postgres, for libpq; asked again for each connection.
            committed: called after each commit with its events, those too that were there already:
                their news may have been lost with a worker.
            signalled, types: see ``Ingest``.
        """
        self._spool = spool
        self._committed = committed
        self._straight = EventConnection(address, signalled, types)
        self._later = EventConnection(address, signalled, types)
        self._waiting: deque[_Call] = deque()
        self._rows = self._bytes = 0
        self._part = GROUP_ROWS  # rows of the spool that are tried in one call
        self._arrived, self._spooled = asyncio.Event(), asyncio.Event()
        self._order = asyncio.Lock()  # of what changes the spool, and which way events go
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        await asyncio.to_thread(self._spool.adopt)
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._replay())]

    async def close(self) -> None:
        """Take no more, write what waits, and stop. The spool waits for the next start."""
        self._closing = True
        await asyncio.gather(*(call.done for call in self._waiting), return_exceptions=True)
        async with self._order:  # the last group
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._straight.drop()
        self._later.drop()
        self._spool.close()

    @contextlib.contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Room for a body until it is answered: a function to call with the bytes of each part
        that came, which raises ``Busy`` where there is none. What was announced and never comes
        takes nothing."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self._bytes + size > MAX_BYTES:
                TURNED_AWAY.labels("busy").inc()
                raise Busy(f"{self._bytes} bytes wait already")
            self._bytes += size
            taken += size

        try:
            yield take
        finally:
            self._bytes -= taken

    async def write(self, events: list[Event], refused: list[RefusedEvent]) -> Stored:
        """Returns once the events are durable, and the refused entries are kept.

        Raises:
            Busy, NoRoom: come again. What was kept all the same is a duplicate then.
        """
        size = len(orjson.dumps([events, refused]))
        call = _Call(events, refused, size, asyncio.get_running_loop().create_future())
        if self._closing:
            raise NoRoom("the worker stops")
        if self._rows + call.rows > MAX_ROWS:
            TURNED_AWAY.labels("busy").inc()
            raise Busy(f"{self._rows} events wait already")
        self._waiting.append(call)
        self._count(call.rows)
        self._arrived.set()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.shield(call.done)
        except TimeoutError:
            TURNED_AWAY.labels("busy").inc()
            raise Busy("events are written more slowly than they come") from None

    def _count(self, rows: int) -> None:
        self._rows += rows
        WAITING.set(self._rows)

    async def _write(self) -> None:
        """Write groups, for ever."""
        while True:
            await self._arrived.wait()
            async with self._order:
                calls = self._next_calls()
                if not calls:
                    self._arrived.clear()
                    continue
                group = _Group(calls)
                try:
                    await self._write_group(group)
                except SpoolFull as error:
                    TURNED_AWAY.labels("no_room").inc()
                    group.fail(NoRoom(f"Postgres is away and the spool is full: {error}"))
                except Exception as error:  # a mistake of ours must not stop all that follows
                    log.error("group of events not written", exc_info=error)
                    group.fail(error)
                finally:
                    self._count(-sum(call.rows for call in calls))

    def _next_calls(self) -> list[_Call]:
        calls: list[_Call] = []
        rows = size = 0
        while self._waiting:
            rows, size = rows + self._waiting[0].rows, size + self._waiting[0].size
            if calls and (rows > GROUP_ROWS or size > GROUP_BYTES):
                break
            calls.append(self._waiting.popleft())
        return calls

    async def _write_group(self, group: _Group) -> None:
        start = perf_counter()
        GROUP_EVENTS.observe(len(group.events))
        parts, stored = group.parts(), Stored()
        if not self._spool.behind:
            try:
                while parts:
                    given = group.events[parts[0][0]]
                    written = await self._straight.store(given, group.refused[parts[0][1]])
                    stored.add(written, range(len(group.events))[parts[0][0]])
                    self._tell_committed(given, written)
                    del parts[0]
            except Away as error:
                log.warning("events go to the spool", extra={"detail": str(error)})
        if parts:
            records = [group.record(*part) for part in parts]
            await asyncio.to_thread(self._spool.append, *records)
            self._spooled.set()
        way = "spool" if parts else "postgres"
        COMMIT_SECONDS.labels(way).observe(perf_counter() - start)
        group.tell(stored)

    async def _replay(self) -> None:
        """Bring what is in the spool to Postgres, for ever."""
        while True:
            try:
                await self._replay_all()
            except Exception as error:  # as above
                log.error("spool not replayed", exc_info=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ADOPT_SECONDS):
                    await self._spooled.wait()
            self._spooled.clear()
            async with self._order:
                await asyncio.to_thread(self._spool.adopt)

    async def _replay_all(self) -> None:
        while chunk := await asyncio.to_thread(self._spool.next, REPLAY_BYTES):
            records: list[_Record] = [orjson.loads(record) for record in chunk.records]
            given = [event for record in records for event in record["events"]]
            refused = [entry for record in records for entry in record["refused"]]
            await self._replay_rows(given, refused)
            async with self._order:
                self._spool.done(chunk)

    async def _replay_rows(self, given: list[Event], refused: list[RefusedEvent]) -> None:
        """Events first, in parts: each time that Postgres does not take one it is halved, so that
        nothing that is too much for one call holds up what is behind it."""
        logged_at = perf_counter()
        while given or refused:
            events, entries = given[: self._part], refused[: max(self._part - len(given), 0)]
            try:
                stored = await self._later.store(events, entries)
            except Away as error:
                self._part = max(self._part // 2, 1)
                if perf_counter() - logged_at > SAID_SECONDS:
                    logged_at = perf_counter()
                    log.error("spool waits for Postgres", extra={"detail": str(error)})
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self._part = min(self._part * 2, GROUP_ROWS)
            given, refused = given[len(events) :], refused[len(entries) :]
            REPLAYED.inc(len(events))
            self._tell_committed(events, stored)

    def _tell_committed(self, events: Sequence[Event], stored: Stored) -> None:
        try:
            self._committed([event for n, event in enumerate(events) if n not in stored.refused])
        except Exception as error:  # they are stored, whatever becomes of the news
            log.error("news of stored events not told", exc_info=error)
