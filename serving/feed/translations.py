"""Rows of a list in terms of another snapshot, for feeds that are scrolled while it is swapped."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from models.catalogue.snapshots.snapshot import Snapshot, SnapshotError
from models.catalogue.viewers.viewer import Indices
from models.data.ids import IdIndex
from serving.feed.feed_list import FeedList
from serving.state.catalogue import newest_folders
from serving.versions.live_state import Catalogue, name_of

log = logging.getLogger("feedwright.serving")
REMEMBERED = 8
"""Earlier catalogues whose rows can be read at once."""


class Translations:
    """Knows what rows of earlier catalogues are in the present one. Used from one event loop."""

    def __init__(self, *folders: Path) -> None:
        """
        Args:
            folders: those that hold snapshots, to find one that this worker never served.
        """
        self._folders = folders
        self._ids: LRUCache[str, IdIndex] = LRUCache(REMEMBERED)  # of the catalogues served last
        self._maps: LRUCache[tuple[str, str], asyncio.Future[Indices | None]] = LRUCache(REMEMBERED)

    def written(self, catalogue: Catalogue, rows: Indices) -> tuple[Indices, list[str]]:
        """Rows as a list keeps them: those of items newer than the snapshot are negative,
        positions in the ids that come with them, since every worker has its own rows for these."""
        new = np.flatnonzero(rows >= len(catalogue.snapshot.items.ids))
        if len(new) == 0:
            return rows.astype(np.int32), []
        kept = rows.astype(np.int32, copy=True)
        kept[new] = -1 - np.arange(len(new))
        return kept, [catalogue.live.item_id(int(row)) for row in rows[new]]

    def read(self, catalogue: Catalogue, kept: FeedList, part: slice) -> NDArray[np.int32]:
        """Rows of a part of the list in ``catalogue``, -1 for what it does not have.

        Its snapshot must be the same, or ``can_read``.
        """
        rows = kept.rows[part]
        if kept.catalogue != catalogue.name:
            translated = self._maps[kept.catalogue, catalogue.name].result()
            assert translated is not None
            rows = np.where(rows >= 0, translated[np.maximum(rows, 0)], rows)
        extra = np.flatnonzero(kept.rows[part] < 0)
        if len(extra):
            rows = rows.copy()
            for index in extra.tolist():
                row = catalogue.live.find_item(kept.extra_ids[-1 - int(kept.rows[part][index])])
                rows[index] = -1 if row is None else row
        return rows

    async def can_read(self, name: str, catalogue: Catalogue) -> bool:
        """Whether rows of the catalogue called ``name`` can be read; finds out how, once.

        O(items), in a thread.
        """
        self._ids[catalogue.name] = catalogue.snapshot.items.ids
        key = name, catalogue.name
        if key not in self._maps:
            work = asyncio.to_thread(self._translated, name, catalogue)
            self._maps[key] = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(self._maps[key]) is not None
        except Exception:  # anything: the feed is made anew, and not refused for ever
            self._maps.pop(key, None)
            log.exception("rows of an earlier catalogue not read")
            return False

    def _translated(self, name: str, catalogue: Catalogue) -> Indices | None:
        ids = self._ids.get(name) or self._find(name)
        return None if ids is None else catalogue.snapshot.items.ids.indices(ids.to_series())

    def _find(self, name: str) -> IdIndex | None:
        for folder in newest_folders(*self._folders):
            try:
                snapshot = Snapshot.load(folder)
            except SnapshotError:
                continue
            if name_of(snapshot) == name:
                return snapshot.items.ids
        return None
