"""Users as they are now: those of the snapshot, and those that changed since, kept beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from models.catalogue.changes import UserRow
from models.catalogue.snapshots.snapshot import Users
from models.catalogue.viewers.viewer import (
    NO_PREFERENCES,
    NOTHING,
    History,
    Indices,
    Preferences,
    Viewer,
)
from models.catalogue.vocabulary import Vocabulary

_DONE = (
    "seen",
    "applied",
    "liked",
    "liked_weights",
    "recent",
    "recent_types",
    "dismissed",
    "vector",
)
"""What a viewer takes from their history as it is."""


class _Facts(NamedTuple):
    """What is known of a user besides what they did; fields of ``Viewer``."""

    lat: float = math.nan
    lon: float = math.nan
    tags: Indices = NOTHING
    preferences: Preferences = NO_PREFERENCES
    city: int = -1


class LiveUsers:
    """Written from one thread, read from many."""

    def __init__(
        self, users: Users, tags: Vocabulary, cities: Vocabulary, owners: Vocabulary
    ) -> None:
        self._users = users
        self._tags = tags
        self._cities = cities
        self._owners = owners
        self._changed: dict[str, UserRow] = {}
        self._changed_at: dict[str, float] = {}
        self._forgotten: set[str] = set()  # the same id may come again: another user

    def put(self, user: UserRow, now: float) -> None:
        # Names get their index here, in the thread that writes: viewers only look them up.
        self._tags.indices([*user.tags, *user.preferred_tags, *user.blocked_tags])
        self._owners.indices(user.blocked_owners)
        self._changed[user.id] = user
        self._changed_at[user.id] = now

    def forget(self, user_id: str, now: float) -> None:
        self._changed.pop(user_id, None)
        self._forgotten.add(user_id)
        self._changed_at[user_id] = now

    def changed_at(self, user_id: str) -> float:
        """When the user was last put or forgotten, epoch seconds; 0: not since the snapshot."""
        return self._changed_at.get(user_id, 0.0)

    def ids(self) -> set[str]:
        """O(users)."""
        return {*self._users.ids.to_list(), *self._changed}

    def viewer(
        self,
        user_id: str | None,
        lat: float | None,
        lon: float | None,
        tags: Sequence[str] | None,
        history: History | None,
        now: float | None,
    ) -> Viewer:
        """As ``LiveCatalogue.viewer``."""
        row, changed, facts = None, None, _Facts()
        if user_id is not None:
            row = None if user_id in self._forgotten else self._users.ids.find(user_id)
            changed = self._changed.get(user_id)
        if changed is not None:
            facts = self._of_change(changed)
        elif row is not None:
            facts = self._of_snapshot(row)
        if lat is not None and lon is not None:
            facts = facts._replace(lat=lat, lon=lon)
        if tags is not None:
            chosen = {index for tag in tags if (index := self._tags.find(tag)) >= 0}
            facts = facts._replace(tags=np.array(sorted(chosen), np.int32))
        own = int(self._users.owner[row]) if row is not None else -1
        return Viewer(
            user_id,
            row,
            known=row is not None or changed is not None,
            own=own if own >= 0 else self._owners.find(user_id),
            **facts._asdict(),
            **self._done_by(row, history, facts.preferences, now),
        )

    def _of_change(self, user: UserRow) -> _Facts:
        return _Facts(
            or_nan(user.lat),
            or_nan(user.lon),
            self._tags.indices([*user.tags, *user.preferred_tags]),
            Preferences(
                or_nan(user.max_distance_km),
                or_nan(user.price_min),
                or_nan(user.price_max),
                self._tags.indices(user.blocked_tags),
                self._owners.indices(user.blocked_owners),
                user.personalization_enabled,
            ),
            self._cities.find(user.city),
        )

    def _of_snapshot(self, row: int) -> _Facts:
        users = self._users
        chosen, preferred = users.tags.row(row), users.preferred_tags.row(row)
        return _Facts(
            float(users.lat[row]),
            float(users.lon[row]),
            np.union1d(chosen, preferred) if len(preferred) else chosen,
            Preferences(
                float(users.max_distance_km[row]),
                float(users.price_min[row]),
                float(users.price_max[row]),
                users.blocked_tags.row(row),
                users.blocked_owners.row(row),
                bool(users.personalized[row]),
            ),
            int(users.city[row]),
        )

    def _done_by(
        self, row: int | None, history: History | None, preferences: Preferences, now: float | None
    ) -> dict[str, Any]:
        """The fields of a viewer that say what they did: of the history, else of the snapshot."""
        if history is not None:
            interests = history.interests.at_time(time.time() if now is None else now)
            done = {name: getattr(history, name) for name in _DONE}
            return done | {"interests": interests.without_tags(preferences.blocked_tags)}
        if row is None:
            return {}
        users = self._users
        recent, seen = users.recent[row], users.seen.row(row)
        return {
            "seen": seen,
            "applied": users.applied.row(row),
            "liked": users.liked.row(row),
            "liked_weights": users.liked.row_values(row),
            "recent": recent[recent >= 0],
            "recent_types": users.recent_types[row][recent >= 0],
            "dismissed": seen[users.seen.row_values(row) < 0],
            "vector": users.vectors[row],
        }


def or_nan(value: float | None) -> float:
    return math.nan if value is None else value
