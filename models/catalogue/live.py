"""A snapshot and what changed since: the catalogue as it is now, in one process.

Changes are written into the snapshot's own columns, which are mapped copy-on-write, so cost
and memory follow what changed. A new item takes one of the snapshot's empty rows; when there
are none left, the columns are copied into larger ones. Changed users are kept beside it.

Written from one thread. A ranking that runs in another one meanwhile may see half a change,
so whoever shows a page looks once more at the rules.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from models.catalogue.changes import Changes, ItemRow, OwnerRow
from models.catalogue.live_users import LiveUsers, or_nan
from models.catalogue.score_statistics import ScoreStatistics
from models.catalogue.snapshots.padding import MOST_TAGS, extended, with_tag_slots
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.viewers.viewer import (
    History,
    Indices,
    Viewer,
)
from models.catalogue.vocabulary import Vocabulary
from models.data import scorers
from models.data.ids import IdIndex

LATEST = 500
IDS_AT_HAND = 50_000
LEAST_TOP = 10.0
"""Weighted interactions that the most engaging item has at least."""
LIKE_IT = 100
"""A new item gets the mean vector of so many items that are like it."""


class LiveCatalogue:
    """
    Attributes:
        snapshot: what it began as. ``items`` may be larger by now.
        items: the columns to read.
        tags, categories, cities, owners, types: vocabularies; what the columns index. ``types``
            are of interactions, by the names that the snapshot was written with.
        version: rises with every change.
        added_at: epoch seconds of the last change that may bring an item into feeds.
        trending: by window in hours, rows and scores; empty until they are set.
        changed_items: rows of items that were written since the snapshot; ``written`` has them
            in the order of the writing, again each time.
        score_statistics: of the model. ``usual``: mean of the components that are the same
            for everybody.
        position: of the change log, up to which changes are in.
        counted: of the interactions, up to which they are counted; None: none since the snapshot.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.items = snapshot.items
        self.users = snapshot.users
        names = snapshot.manifest
        self.tags = Vocabulary(IdIndex.of(names.tags), names.tags)
        self.categories = Vocabulary(IdIndex.of(names.categories), names.categories)
        self.cities = Vocabulary(IdIndex.of(names.cities), names.cities)
        self.owners = Vocabulary(snapshot.owners)
        self._users = LiveUsers(snapshot.users, self.tags, self.cities, self.owners)
        self.types = Vocabulary(IdIndex.of([]))
        for name in snapshot.interaction_types:
            self.types.add(name)
        self.version = 0
        self.added_at = 0.0
        self.trending: dict[int, tuple[Indices, NDArray[np.float32]]] = {}
        self.changed_items: set[int] = set()
        self.written: list[int] = []
        self._latest: deque[int] = deque(maxlen=LATEST)
        self.position = snapshot.manifest.catalogue_position
        self.counted: tuple[str, float] | None = None
        self._engagement_top = math.log1p(LEAST_TOP)
        self._ids: dict[int, str] = {}  # the same items are shown again and again
        self._new_rows: dict[str, int] = {}
        self._new_ids: list[str] = []
        self._titles: dict[int, str] = {}
        for item_id in snapshot.added:  # not shown before the change log says so
            self._new_row(item_id)
        self._gone: set[str] = set()
        self._qualities: dict[int, float] = {}
        shown = np.flatnonzero(self.items.published).astype(np.int32)
        step = max(1, len(shown) // 50_000)
        sample = shown[::step]
        self.score_statistics = ScoreStatistics.of(self.items, sample)
        quality = self.items.owner_quality[sample]
        self.usual = {
            "engagement": float(self.items.engagement[sample].mean()) if len(sample) else 0.0,
            "owner_quality": float(np.nanmean(quality)) if not np.isnan(quality).all() else 0.0,
        }
        self._usual_bias = float(np.median(self.items.bias[sample])) if len(sample) else 0.0

    @property
    def size(self) -> int:
        """Items that have a row, whether shown or not."""
        return len(self.snapshot.items.ids) + len(self._new_ids)

    def find_item(self, item_id: str) -> int | None:
        """Row of an item, or None: unknown or deleted. O(log n)."""
        if item_id in self._gone:
            return None
        row = self._new_rows.get(item_id)
        return self.snapshot.items.ids.find(item_id) if row is None else row

    def find_items(self, item_ids: Iterable[str]) -> Indices:
        """Row of each item, -1: unknown or deleted."""
        rows = map(self.find_item, item_ids)
        return np.array([-1 if row is None else row for row in rows], np.int32)

    def item_id(self, row: int) -> str:
        item_id = self._ids.get(row)
        if item_id is None:
            if len(self._ids) >= IDS_AT_HAND:
                self._ids.clear()
            ids = self.snapshot.items.ids
            item_id = ids[row] if row < len(ids) else self._new_ids[row - len(ids)]
            self._ids[row] = item_id
        return item_id

    def title(self, row: int) -> str:
        """The item's title, or its id when it has none."""
        title = self._titles.get(row)
        if title is None and row < len(self.snapshot.items.titles):
            title = self.snapshot.items.titles[row]
        return title or self.item_id(row)

    def viewer(
        self,
        user_id: str | None,
        *,
        lat: float | None = None,
        lon: float | None = None,
        tags: Sequence[str] | None = None,
        history: History | None = None,
        now: float | None = None,
    ) -> Viewer:
        """Look the user up; what is given goes before what the catalogue knows.

        Args:
            history: what the user did, with what came after the snapshot; None: only what
                the snapshot knows.
            now: epoch seconds, up to which interests have faded; None: the present.
        """
        return self._users.viewer(user_id, lat, lon, tags, history, now)

    def changed_at(self, user_id: str | None) -> float:
        """When a feed of this user was last made old, epoch seconds."""
        if user_id is None:
            return self.added_at
        return max(self.added_at, self._users.changed_at(user_id))

    def apply(self, changes: Changes) -> None:
        """Take in what changed. O(changes), and O(items) when room runs out."""
        now = time.time()
        if changes.items or changes.owners:
            self.added_at = now
        gone = [OwnerRow(owner_id, None, None, None) for owner_id in changes.removed_owners]
        self._put_owners([*changes.owners, *gone])
        for item in changes.items:
            self._put_item(item)
        for item_id in changes.removed_items:
            self._remove_item(item_id)
        for user_id in changes.erased_users:
            self._users.forget(user_id, now)
        for user in changes.users:
            self._users.put(user, now)
        for user_id in changes.removed_users:
            self._users.forget(user_id, now)
        self.version += 1

    def remove_all_but(self, item_ids: Set[str], user_ids: Set[str]) -> None:
        """Every other item and user is gone. O(items + users)."""
        for row in np.flatnonzero(self.items.published).tolist():
            if (item_id := self.item_id(row)) not in item_ids:
                self._remove_item(item_id)
        gone = sorted(self._users.ids() - user_ids)
        self.apply(Changes(self.position or "", removed_users=gone))

    def latest_items(self) -> Indices:
        """Rows of the items that were written last, the newest first; those that feeds cannot
        know from what was made a minute ago."""
        return np.array(self._latest, np.int32)[::-1]

    def set_trending(self, windows: dict[int, tuple[Indices, NDArray[np.float32]]]) -> None:
        """What trends now, by window in hours: rows, best first, and scores in [0, 1]. The
        longest window is what the column holds."""
        self.trending = windows
        self.items.trending[:] = 0
        if windows:
            rows, scores = windows[max(windows)]
            self.items.trending[rows] = scores

    def most_engaging(self) -> str | None:
        """The item by which the snapshot scaled engagement; None: nobody did anything."""
        engagement = self.snapshot.items.engagement[: len(self.snapshot.items.ids)]
        row = int(engagement.argmax()) if len(engagement) else 0
        return self.item_id(row) if len(engagement) and engagement[row] > 0 else None

    def scale_engagement(self, weighted: float) -> None:
        """Tell the weighted sum of interactions of ``most_engaging``."""
        self._engagement_top = math.log1p(max(weighted, LEAST_TOP))

    def count(
        self,
        rows: Indices,
        impressions: NDArray[np.int64],
        clicks: NDArray[np.int64],
        weighted: NDArray[np.float64],
    ) -> None:
        """Add what users did with items since.

        Engagement is scaled as in the snapshot, ``log1p(s) / log1p(s of the top item)``, so of
        the weighted sum s more: ``log1p(expm1(e · top) + more) / top``, within 0 to 1. An item
        that has overtaken the top has 1 until the next snapshot scales anew.

        Args:
            rows: distinct, shape (n,).
            weighted: sums of the profile's engagement weights, shape (n,).
        """
        items, top = self.items, self._engagement_top
        items.impressions[rows] += impressions
        items.clicks[rows] += clicks
        before = np.expm1(items.engagement[rows].astype(np.float64) * top)
        after = np.log1p(np.maximum(before + weighted, 0)) / top
        items.engagement[rows] = np.where(
            weighted == 0, items.engagement[rows], np.minimum(after, 1)
        )

    def set_applied(self, rows: Indices, applied: NDArray[np.int64]) -> None:
        """So many users have applied to each item now. Pages are made anew if one is full by
        that, or no longer is."""
        items = self.items
        capacity = items.capacity[rows]
        was_full = items.applied[rows] >= capacity
        items.applied[rows] = applied
        if ((was_full != (items.applied[rows] >= capacity)) & (capacity >= 0)).any():
            self.version += 1

    def _put_item(self, item: ItemRow) -> None:
        row = self._new_rows.get(item.id)
        if row is None:
            row = self.snapshot.items.ids.find(item.id)
        if row is None:
            row = self._new_row(item.id)
        self._gone.discard(item.id)
        tags = self.tags.indices(item.tags)[:MOST_TAGS]
        if len(tags) > self.items.tags.shape[1]:
            self.items = with_tag_slots(self.items, len(tags))
        items = self.items
        was_shown = bool(items.published[row])
        items.published[row] = False  # half a change is not shown
        items.created_at[row] = or_nan(item.created_at)
        items.publish_at[row] = or_nan(item.publish_at)
        items.starts_at[row] = or_nan(item.starts_at)
        items.lat[row], items.lon[row] = or_nan(item.lat), or_nan(item.lon)
        items.price_min[row], items.price_max[row] = (
            or_nan(item.price_min),
            or_nan(item.price_max),
        )
        items.price_band[row] = scorers.price_band(
            items.price_min[row : row + 1], items.price_max[row : row + 1]
        )[0]
        items.capacity[row] = -1 if item.capacity is None else item.capacity
        items.category[row] = self.categories.add(item.category)
        items.city[row] = self.cities.add(item.city)
        items.tags[row] = -1
        items.tags[row, : len(tags)] = tags
        owner = self.owners.add(item.owner_id)
        items.owner_quality[row] = self._quality_of(owner)
        items.owner[row] = owner
        if row >= len(self.snapshot.items.ids):
            self._place_among_alike(row)
        self._titles[row] = item.title or ""
        # Of a tag that has no slot, no rule would know.
        items.published[row] = item.status == "published" and len(item.tags) <= MOST_TAGS
        self._note(row)
        if not was_shown:
            self._latest.append(row)

    def _note(self, row: int) -> None:
        self.changed_items.add(row)
        self.written.append(row)

    def _remove_item(self, item_id: str) -> None:
        row = self.find_item(item_id)
        if row is not None:
            self.items.published[row] = False
            self._note(row)
            self._gone.add(item_id)

    def _new_row(self, item_id: str) -> int:
        row = self.size
        if row >= self.items.rows:
            self.items = extended(self.items, self.items.rows)
        self._new_ids.append(item_id)
        self._new_rows[item_id] = row
        return row

    def _place_among_alike(self, row: int) -> None:
        """Where the model would put a new item: amid those that share most of its tags.

        A stopgap until the next training gives it a vector of its own.
        """
        items = self.items
        items.bias[row] = self._usual_bias
        if not items.vectors.shape[1]:
            return
        tags = items.tags[row]
        trained = tags[(tags >= 0) & (tags < self.snapshot.tag_items.rows)]
        items_of_tags = self.snapshot.tag_items.gather(trained).indices
        if len(items_of_tags) == 0:
            items.vectors[row] = self.score_statistics.vector
            return
        rows, shared = np.unique(items_of_tags, return_counts=True)
        best = rows[np.argsort(-shared, kind="stable")[:LIKE_IT]]
        items.vectors[row] = items.vectors[best].mean(axis=0)
        items.fold[row] = items.fold[best].mean(axis=0)

    def _put_owners(self, owners: Sequence[OwnerRow]) -> None:
        """One pass over the items, however many owners."""
        if not owners:
            return
        index = np.array([self.owners.add(owner.id) for owner in owners])
        quality = scorers.owner_quality(
            *(
                np.array([or_nan(getattr(owner, name)) for owner in owners])
                for name in ("average_rating", "completion_rate", "finished_jobs")
            )
        )
        self._qualities |= zip(index.tolist(), quality.tolist(), strict=True)
        of = self.items.owner
        among = np.zeros(len(self.owners) + 1, bool)  # the last is what -1 finds
        among[index] = True
        rows = np.flatnonzero(among[of])
        self.items.owner_quality[rows] = [self._qualities[owner] for owner in of[rows].tolist()]

    def _quality_of(self, owner: int) -> float:
        qualities = self.snapshot.owner_quality
        unchanged = float(qualities[owner]) if 0 <= owner < len(qualities) else math.nan
        return self._qualities.get(owner, unchanged)
