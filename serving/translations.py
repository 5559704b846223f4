"""Rows of a list in terms of another snapshot, for feeds that are scrolled while it is swapped."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.ids import IdIndex
from models.snapshot import Snapshot, SnapshotError
from models.viewer import Indices
from serving.catalogue import newest_folders
from serving.feed_lists import FeedList
from serving.live_state import Catalogue, name_of

log = logging.getLogger("feedwright.serving")


class Translations:
    """Knows what rows of earlier catalogues are in the present one. Used from one event loop."""

    def __init__(self, *folders: Path) -> None:
        """
        Args:
            folders: those that hold snapshots, to find one that this worker never served.
        """
        self._folders = folders
        self._of: Catalogue | None = None
        self._ids: dict[str, IdIndex | None] = {}
        self._maps: dict[str, Indices] = {}

    def written(self, catalogue: Catalogue, rows: Indices) -> tuple[Indices, list[str]]:
        """Rows as a list keeps them: those of items newer than the snapshot are negative,
        places in the ids that come with them, since every worker has its own rows for these."""
        new = np.flatnonzero(rows >= len(catalogue.snapshot.items.ids))
        if len(new) == 0:
            return rows.astype(np.int32), []
        kept = rows.astype(np.int32, copy=True)
        kept[new] = -1 - np.arange(len(new))
        return kept, [catalogue.live.item_id(int(row)) for row in rows[new]]

    def read(self, catalogue: Catalogue, kept: FeedList, part: slice) -> NDArray[np.int32]:
        """Rows of a part of the list in ``catalogue``, -1 for what it does not have.

        Its snapshot must be the same, or ``known``.
        """
        rows = kept.rows[part]
        if kept.catalogue != catalogue.name:
            rows = np.where(rows >= 0, self._maps[kept.catalogue][np.maximum(rows, 0)], rows)
        lost = np.flatnonzero(kept.rows[part] < 0)
        if len(lost):
            rows = rows.copy()
            for place in lost.tolist():
                found = catalogue.live.find_item(kept.extra_ids[-1 - int(kept.rows[part][place])])
                rows[place] = -1 if found is None else found
        return rows

    async def known(self, name: str, catalogue: Catalogue) -> bool:
        """Whether rows of the catalogue called ``name`` can be read; finds out how, once.

        O(items), in a thread.
        """
        if self._of is None or self._of.name != catalogue.name:
            if self._of is not None:
                self._ids[self._of.name] = self._of.snapshot.items.ids
            self._of, self._maps = catalogue, {}
        if name not in self._maps:
            translated = await asyncio.to_thread(self._translated, name, catalogue)
            if translated is None:
                return False
            if self._of is catalogue or self._of.name == catalogue.name:
                self._maps[name] = translated
        return name in self._maps

    def _translated(self, name: str, catalogue: Catalogue) -> Indices | None:
        if name not in self._ids:
            self._ids[name] = self._find(name)
        ids = self._ids[name]
        if ids is None:
            return None
        return catalogue.snapshot.items.ids.indices(ids.to_series())

    def _find(self, name: str) -> IdIndex | None:
        for folder in newest_folders(*self._folders):
            try:
                snapshot = Snapshot.load(folder)
            except SnapshotError:
                continue
            if name_of(snapshot) == name:
                return snapshot.items.ids
        return None
