"""Keeps a worker's catalogues as they are in Postgres: what changed is in them a second later, and
so is what users did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import psycopg

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices
from models.profile.schema import Profile
from serving.postgres.connection import ANSWER_SECONDS, ServingConnection
from serving.state.erased_users import ErasedUsers
from serving.state.touched import Touched
from serving.state.user_states import made_from
from serving.telemetry.metrics import APPLIED_SECONDS, CATALOGUE_READ, CHANGES
from storage.catalogue.changes import PositionLost, read_changes, read_everything
from storage.events.history import NEVER, ItemCounts, applied_counts, arrived, weighted_sum
from storage.postgres.embedded import EmbeddedPostgresError

log = logging.getLogger("feedwright.serving")

AT_ONCE = 200
"""Ids taken in between two requests: some milliseconds."""
TRENDING_SECONDS = 30.0
BEGINNING = "3:3:"
"""Position before any change, for a snapshot that does not know its own."""


class Follower:
    """Reads the change log and the interactions, and applies them to every catalogue in use. Used
    from one event loop.

    Each catalogue has a connection of its own: one that has much to catch up on does not make
    another late.
    """

    def __init__(
        self,
        address: Callable[[], str],
        current: Callable[[], Sequence[LiveCatalogue]],
        profile: Callable[[], Profile],
        *,
        seconds: float,
        touched: Touched | None = None,
        erased: ErasedUsers | None = None,
    ) -> None:
        """
        Args:
            current: catalogues in use, the champion's first.
            erased: notified of who was erased.
            touched: notified of who did something, through whichever machine it came in.
        """
        self._address = address
        self._current = current
        self._profile = profile
        self._seconds = seconds
        self._touched = touched
        self._erased = erased or ErasedUsers()
        self._soon = asyncio.Event()
        self._followed: dict[LiveCatalogue, _Following] = {}
        self._turns: set[asyncio.Task[bool]] = set()

    @property
    def read_at(self) -> float | None:
        """When the log was last read to its end for the champion's catalogue, in the loop's time;
        None: never yet."""
        live = next(iter(self._current()), None)
        following = None if live is None else self._followed.get(live)
        return None if following is None else following.read_at

    async def run(self) -> None:
        """Follow, for ever."""
        while True:
            lives = set(self._current())
            for live in lives:
                if not self._following(live).busy:
                    self._begin(live)
            for live in [live for live in self._followed if live not in lives]:
                if not self._followed[live].busy:  # else it is about to be used
                    self._followed.pop(live).close()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._soon.wait()
            self._soon.clear()

    def soon(self) -> None:
        """Something was written through this worker: do not wait for the next look."""
        self._soon.set()

    async def catch_up(self, live: LiveCatalogue) -> bool:
        """Apply all that is committed by now; False: Postgres does not answer, or failed. It goes
        on when nobody waits for it any longer."""
        return await asyncio.shield(self._begin(live))

    async def close(self) -> None:
        for turn in self._turns:
            turn.cancel()
        await asyncio.gather(*self._turns, return_exceptions=True)
        for following in self._followed.values():
            following.close()

    def _begin(self, live: LiveCatalogue) -> asyncio.Task[bool]:
        turn = asyncio.create_task(self._following(live).catch_up())
        self._turns.add(turn)
        turn.add_done_callback(self._turns.discard)
        return turn

    def _following(self, live: LiveCatalogue) -> _Following:
        if live not in self._followed:
            self._followed[live] = _Following(
                live, self._address, self._profile, self._touched, self._erased
            )
        return self._followed[live]


class _Following:
    """One catalogue.

    Attributes:
        read_at: see ``Follower``.
    """

    def __init__(
        self,
        live: LiveCatalogue,
        address: Callable[[], str],
        profile: Callable[[], Profile],
        touched: Touched | None,
        erased: ErasedUsers,
    ) -> None:
        self._live = live
        self._address = address
        self._profile = profile
        self._touched = touched
        self._erased = erased
        self._one_at_a_time = asyncio.Lock()
        self._connection: ServingConnection | None = None
        self._trending_at = -TRENDING_SECONDS
        self.read_at: float | None = None
        self._problem: str | None = None

    @property
    def busy(self) -> bool:
        return self._one_at_a_time.locked()

    async def catch_up(self) -> bool:
        """See ``Follower.catch_up``."""
        async with self._one_at_a_time:
            try:
                await self._turn(self._live)
            except (psycopg.Error, OSError, EmbeddedPostgresError) as error:
                self.close()
                self._tell(" ".join(str(error).split()))
                return False
            except Exception:  # the next look may be better; none at all would be worse
                log.exception("catalogue not followed")
                self.close()
                return False
            self._problem = None
            self.read_at = asyncio.get_running_loop().time()
            CATALOGUE_READ.set_to_current_time()
            return True

    async def _turn(self, live: LiveCatalogue) -> None:
        connection = await self._connected()
        if not self._erased.loaded:
            await self._erased.load(connection)
        await self._apply(connection, live)
        await self._count(connection, live)
        await self._refresh_trending(connection, live)

    def _tell(self, problem: str) -> None:
        """Once for each problem."""
        if problem != self._problem:
            self._problem = problem
            log.warning("catalogue not followed", extra={"detail": problem})

    def close(self) -> None:
        """Not while it is ``busy``."""
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None

    async def _connected(self) -> ServingConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await ServingConnection.connect(
                self._address(),
                autocommit=True,
                application_name="feedwright follower",
                connect_timeout=3,
            )
            # Or each look at a table that is locked leaves a statement waiting behind.
            await self._connection.execute(
                "SELECT set_config('statement_timeout', %s, false)", (f"{ANSWER_SECONDS:g}s",)
            )
        return self._connection

    async def _apply(self, connection: ServingConnection, live: LiveCatalogue) -> None:
        checks = self._profile().checks
        try:
            since = live.position or BEGINNING
            async for changes in read_changes(connection, since, limit=AT_ONCE, checks=checks):
                if changes.count:
                    self._erased.note(changes.erased_users)
                    live.apply(changes)
                    CHANGES.inc(changes.count)
                    await asyncio.sleep(0)  # requests come first
                live.position = changes.position
        except PositionLost as error:
            log.warning("reading the whole catalogue", extra={"detail": str(error)})
            items: set[str] = set()
            users: set[str] = set()
            position = None
            async for changes in read_everything(connection, limit=AT_ONCE, checks=checks):
                live.apply(changes)
                position = changes.position
                items.update(item.id for item in changes.items)
                users.update(user.id for user in changes.users)
                await asyncio.sleep(0)
            live.remove_all_but(items, users)
            live.position = position

    async def _count(self, connection: ServingConnection, live: LiveCatalogue) -> None:
        """Take in what users did since the last look: who they are, and counts of items.

        The first look at a catalogue takes in what was received since its model was trained;
        what came in between the pipeline's last reading and that moment waits for the next
        snapshot. How many applied is counted anew each time, so that nothing is missing there.
        """
        profile = self._profile()
        weights, types = profile.engagement_weights, profile.interaction_types
        if live.counted is None:
            top = live.most_engaging()
            if top is not None:
                live.scale_engagement(await weighted_sum(connection, top, weights))
        since = live.counted or (NEVER, made_from(live.snapshot.manifest))
        new = await arrived(connection, since, weights, types)
        for start in range(0, len(new.items), AT_ONCE):
            part = new.items[start : start + AT_ONCE]
            _count_items(live, part)
            some = {item.item_id: live.find_item(item.item_id) for item in part if item.applied}
            limited = {
                item_id: row
                for item_id, row in some.items()
                if row is not None and live.items.capacity[row] >= 0
            }
            if limited:
                applied = await applied_counts(connection, list(limited), types)
                rows = np.array([limited[item_id] for item_id in applied], np.int32)
                live.set_applied(rows, np.array(list(applied.values()), np.int64))
            await asyncio.sleep(0)
        first = live.counted is None
        live.counted = new.position
        if self._touched is not None and not first:  # nobody is at hand of a new catalogue
            if new.more_users:
                self._touched.mark_all()
            else:
                self._touched.mark(new.user_ids)
        if new.oldest_seconds is not None and not first:
            APPLIED_SECONDS.observe(new.oldest_seconds)

    async def _refresh_trending(self, connection: ServingConnection, live: LiveCatalogue) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._trending_at < TRENDING_SECONDS:
            return
        self._trending_at = now
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
                columns = by_window.setdefault(window, ([], []))
                columns[0].append(row)
                columns[1].append(score)
        # Before the pipeline has counted for the first time, the snapshot's own stays.
        if by_window or live.trending:
            live.set_trending({window: _arrays(*columns) for window, columns in by_window.items()})


def _count_items(live: LiveCatalogue, items: list[ItemCounts]) -> None:
    rows = [(live.find_item(item.item_id), item) for item in items]
    counted = [(row, item) for row, item in rows if row is not None]
    if counted:
        live.count(
            np.array([row for row, _ in counted], np.int32),
            np.array([item.impressions for _, item in counted], np.int64),
            np.array([item.clicks for _, item in counted], np.int64),
            np.array([item.weighted for _, item in counted]),
        )


def _arrays(rows: list[int], scores: list[float]) -> tuple[Indices, np.ndarray]:
    return np.array(rows, np.int32), np.array(scores, np.float32)
