"""What each user did, at hand: looked up when something new came in, and only then.

The truth is the user's events in Postgres. A worker looks at a user's when it first meets them,
and again when the table of touched users says so: one query. Until it is answered, or when
Postgres is away, the last that is known of them serves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import psycopg
from cachetools import LRUCache
from prometheus_client import Counter

from models.catalogue.fold_in import FoldIn, fold_in_of
from models.catalogue.history import Events, events_since, history_of
from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Manifest
from models.catalogue.viewers.viewer import History
from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from models.profile.schema import Profile
from serving.postgres.database import DatabaseAway
from serving.state.erased_users import ErasedUsers
from serving.state.touched import Touched
from storage.events.history import EventRow, events_of

log = logging.getLogger("feedwright.serving")

STATES = Counter(
    "feedwright_user_states_total",
    "Looks at what a user did: loaded, slow (the feed went on without), away, failed, resting (not"
    " asked for a while after either).",
    ["outcome"],
)
REMEMBERED = 10_000
PATIENCE_SECONDS = 0.05
"""A feed waits so long for the user's events."""
REST_SECONDS = 1.0


class Runs(Protocol):
    """``serving.postgres.database.Database``, as far as it is needed here."""

    up: bool

    async def run(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Any]]) -> Any: ...


@dataclass(frozen=True)
class _State:
    """``history`` is None when the user did nothing that the snapshot cannot know."""

    profile: Profile
    touched: float
    erased: float
    history: History | None


class UserStates:
    """Used from one event loop. Of the users seen last, ``REMEMBERED`` are kept, each as one
    catalogue has it."""

    def __init__(
        self,
        database: Runs,
        touched: Touched,
        profile: Callable[[], Profile],
        erased: ErasedUsers | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._touched = touched
        self._profile = profile
        self._erased = erased or ErasedUsers()
        self._patience = patience
        self._clock = clock
        self._states: LRUCache[tuple[str, LiveCatalogue], _State] = LRUCache(REMEMBERED)
        self._loading: dict[tuple[str, LiveCatalogue], asyncio.Task[None]] = {}
        self._fold_ins: dict[LiveCatalogue, FoldIn | None] = {}
        self._rests_until = 0.0

    async def get(self, user_id: str | None, live: LiveCatalogue) -> History | None:
        """What is new of a user; None: nothing that is known. Waits at most ``patience``.

        Of a user who is at hand and untouched it costs some microseconds and no query.
        """
        if user_id is None:
            return None
        if not self._is_fresh(user_id, live):
            await self._refresh(user_id, live)
        return self.at_hand(user_id, live)

    def at_hand(self, user_id: str | None, live: LiveCatalogue) -> History | None:
        """What is at hand, without a look into Postgres."""
        state = self._states.get((user_id, live)) if user_id is not None else None
        if state is None or state.erased != self._erased.at(user_id):
            return None  # it is of somebody who was erased
        return state.history

    def keep(self, lives: Set[LiveCatalogue]) -> None:
        """Forget what is of other catalogues: they are no longer in use. O(``REMEMBERED``)."""
        for key in [key for key in self._states if key[1] not in lives]:
            del self._states[key]
        for live in self._fold_ins.keys() - lives:
            del self._fold_ins[live]

    def _is_fresh(self, user_id: str, live: LiveCatalogue) -> bool:
        state = self._states.get((user_id, live))
        return (
            state is not None
            and state.profile is self._profile()
            and state.touched == self._touched.since(user_id)
            and state.erased == self._erased.at(user_id)
        )

    async def _refresh(self, user_id: str, live: LiveCatalogue) -> None:
        if not self._database.up:
            STATES.labels("away").inc()
            return
        if time.monotonic() < self._rests_until:
            STATES.labels("resting").inc()
            return
        end = time.monotonic() + self._patience
        while not self._is_fresh(user_id, live):
            # One that began before the last touch does not know of it: then one more.
            task = self._loading.get((user_id, live))
            if task is None:
                task = asyncio.create_task(self._load(user_id, live))
                self._loading[user_id, live] = task
                task.add_done_callback(lambda _: self._loading.pop((user_id, live), None))
            left = end - time.monotonic()
            done, _ = await asyncio.wait({task}, timeout=max(left, 0))
            if not done:
                STATES.labels("slow").inc()  # it goes on, for the next request
                return
            if time.monotonic() < self._rests_until:
                return

    async def _load(self, user_id: str, live: LiveCatalogue) -> None:
        touched, profile, now = self._touched.since(user_id), self._profile(), self._clock()
        erased, types = self._erased.at(user_id), profile.interaction_types
        trained_at = made_from(live.snapshot.manifest)
        since = events_since(trained_at, profile, now)
        try:
            rows: list[EventRow] = await self._database.run(
                lambda connection: events_of(
                    connection, user_id, since, profile.online.max_events, types
                )
            )
            history = None
            if rows:
                events, fold_in = as_events(rows, live, types), self._folding(live)
                history = history_of(
                    live, user_id, events, profile, fold_in, trained_at=trained_at, now=now
                )
        except DatabaseAway:
            STATES.labels("away").inc()
            self._rests_until = time.monotonic() + REST_SECONDS
            return
        except Exception:  # anything: the feed goes on with what is known
            STATES.labels("failed").inc()
            self._rests_until = time.monotonic() + REST_SECONDS
            log.exception("a user's events not taken in")
            return
        self._states[user_id, live] = _State(profile, touched, erased, history)
        STATES.labels("loaded").inc()

    def _folding(self, live: LiveCatalogue) -> FoldIn | None:
        if live not in self._fold_ins:
            self._fold_ins[live] = fold_in_of(live)
        return self._fold_ins[live]


def made_from(manifest: Manifest) -> float:
    """When the snapshot's model was trained, else when it was built: epoch seconds."""
    return datetime.fromisoformat(manifest.trained_at or manifest.built_at).timestamp()


def as_events(
    rows: list[EventRow], live: LiveCatalogue, types: InteractionTypes = DEFAULT_TYPES
) -> Events:
    """The rows as columns; a type that the profile does not have is left out."""
    rows = [row for row in rows if row.type in types]
    n = len(rows)
    # The same few items come again and again: each is looked up once.
    by_id = {row.item_id: live.find_item(row.item_id) for row in rows if row.item_id is not None}
    items = np.array(
        [-1 if (at := by_id.get(row.item_id or "")) is None else at for row in rows],
        np.int32,
    )
    is_item = items >= 0
    tags = np.full((n, live.items.tags.shape[1]), -1, np.int32)
    categories, cities = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    tags[is_item] = live.items.tags[items[is_item]]
    categories[is_item], cities[is_item] = (
        live.items.category[items[is_item]],
        live.items.city[items[is_item]],
    )
    for index, row in enumerate(rows):
        if row.item_id is None:
            named = {live.tags.find(tag) for tag in row.tags or ()} - {-1}
            few = sorted(named)[: tags.shape[1]]
            tags[index, : len(few)] = few
            categories[index] = live.categories.find(row.category)
            cities[index] = live.cities.find(row.city)
    return Events(
        ids=np.frombuffer(b"".join(row.id for row in rows), ">u8").reshape(n, 2).astype(np.uint64),
        items=items,
        types=np.array([live.types.add(row.type) for row in rows], np.int8),
        times=np.array([row.occurred_at for row in rows], np.float64),
        dwell=np.array([np.nan if row.seconds is None else row.seconds for row in rows]),
        tags=tags,
        categories=categories,
        cities=cities,
    )
