"""What a score table is, and what it is asked with.

A table is asked at request time, so an event counts at once and a new user needs no vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.viewers.viewer import AGAINST, NOTHING, Indices, Viewer
from models.data.arrays import entries_at, top_places
from models.data.interactions.matrices import RECENT_ITEMS
from models.data.ragged import Ragged

MOST_STANDARD = 50.0
"""Standard scores are cut there: where few of many items have any score, the best stand far out."""


class ViewerScores(Protocol):
    """What a table says for one viewer."""

    def standard(self, rows: Indices) -> NDArray[np.float32]:
        """Standard scores of some items, shape (n,); all 0 where no item differs from another."""
        ...

    def best(self, count: int) -> Indices:
        """The items with the highest scores above 0, best first."""
        ...


@dataclass(frozen=True)
class TableScores:
    """The same, of a table that scores all items at once.

    Attributes:
        rows: int32, shape (m,), ascending: the items that have a score; all others have 0.
        scores: float32, shape (m,).
        n_items: of the table.
    """

    rows: Indices
    scores: NDArray[np.float32]
    n_items: int

    @classmethod
    def summed(
        cls, rows: NDArray[np.integer], scores: NDArray[np.floating], n_items: int
    ) -> TableScores:
        """Entries of one item are added up. O(entries + items)."""
        if not len(rows):
            return cls(NOTHING, np.zeros(0, np.float32), n_items)
        totals = np.bincount(rows, weights=scores, minlength=n_items)
        scored = np.flatnonzero(totals)
        return cls(scored.astype(np.int32), totals[scored].astype(np.float32), n_items)

    @cached_property
    def _mean_and_spread(self) -> tuple[float, float]:
        n, scores = max(self.n_items, 1), self.scores.astype(np.float64)
        mean = float(scores.sum()) / n
        # No dot product: where cores are busy, waking BLAS's threads takes a millisecond.
        squares = float(np.square(scores).sum())
        return mean, math.sqrt(max(squares / n - mean * mean, 0.0))

    def standard(self, rows: Indices) -> NDArray[np.float32]:
        mean, spread = self._mean_and_spread
        if spread <= 0:
            return np.zeros(len(rows), np.float32)
        index = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        scores = np.where(self.rows[index] == rows, self.scores[index], 0)
        standard = (scores - mean) / spread
        return np.clip(standard, -MOST_STANDARD, MOST_STANDARD).astype(np.float32)

    def best(self, count: int) -> Indices:
        best = top_places(self.scores, count)
        return self.rows[best[self.scores[best] > 0]]


class ScoreTable(Protocol):
    """Scores items for anybody, by what they did: one viewer as the feed asks, or many at once."""

    kind: ClassVar[str]
    axes: ClassVar[Mapping[str, tuple[str, ...]]]
    """Of each array that is stored, what its rows are: ``items``, ``users`` or ``features``; of a
    ``Ragged`` what its entries are too."""
    by_history: ClassVar[bool]
    """Whether it is asked with the viewer's items."""

    @property
    def fade(self) -> float | None: ...

    @property
    def weighted(self) -> bool: ...

    def ask(self, viewer: Viewer, likes: Ragged) -> ViewerScores:
        """
        Args:
            likes: items that each user of the snapshot likes.
        """
        ...

    def scores(
        self, asked: sparse.csr_array, users: NDArray[np.integer], likes: sparse.csr_array
    ) -> NDArray[np.float32]:
        """The same for many users of the snapshot, shape (n, items).

        Args:
            asked: what each is asked with, shape (n, items); ``Histories`` makes it.
            users: their rows, shape (n,).
        """
        ...


@dataclass(frozen=True)
class Histories:
    """What the users of a snapshot like, and when: what tables are asked with.

    Attributes:
        liked: float32 CSR, shape (users, items).
        times: float64 CSR of that shape: epoch seconds of each liked pair; more pairs may be in
            it. None: nobody knows.
        recent: int32, shape (users, r): the items that each liked last, the newest first, -1 where
            fewer; in the place of times, where that is made already.
    """

    liked: sparse.csr_array
    times: sparse.csr_array | None = None
    recent: NDArray[np.int32] | None = None

    def asked(
        self, users: NDArray[np.integer], fade: float | None, *, weighted: bool
    ) -> sparse.csr_array:
        """As ``history_of_viewer`` has it, of many users: float32 CSR, shape (n, items).

        Raises:
            ValueError: a fade, and no times.
        """
        rows = self.liked[users]
        if fade is None:
            data = rows.data if weighted else np.ones(rows.nnz, np.float32)
            return sparse.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)
        at, rank, items = self._newest_first(users, rows)
        weights = np.exp(-rank / fade).astype(np.float32)
        return sparse.csr_array((weights, (at, items)), shape=rows.shape)

    def newest(self, users: NDArray[np.integer]) -> NDArray[np.int32]:
        """As ``recent``, shape (n, ``RECENT_ITEMS``); nothing where no order is known."""
        newest = np.full((len(users), RECENT_ITEMS), -1, np.int32)
        if self.recent is not None or self.times is not None:
            at, rank, items = self._newest_first(users, self.liked[users])
            newest[at, rank] = items
        return newest

    def _newest_first(
        self, users: NDArray[np.integer], rows: sparse.csr_array
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.integer]]:
        """The newest entries of the rows: row, place in it from 0, and item."""
        if self.recent is not None:
            recent = self.recent[users]
            at, rank = np.nonzero(recent >= 0)
            return at, rank, recent[at, rank]
        if self.times is None:
            raise ValueError("times are not known: nothing can fade")
        at = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        times = entries_at(self.times, np.asarray(users)[at], rows.indices)
        order = np.lexsort((rows.indices, -times, at))
        rank = np.arange(len(order)) - rows.indptr[at[order]]
        kept = rank < RECENT_ITEMS
        return at[order][kept], rank[kept], rows.indices[order][kept]


def history_of_viewer(
    viewer: Viewer, fade: float | None, *, weighted: bool
) -> tuple[Indices, NDArray[np.float32]]:
    """The items that a table is asked with, and what each counts: what was dismissed against."""
    if fade is not None:
        return viewer.recent, np.exp(-np.arange(len(viewer.recent)) / fade).astype(np.float32)
    weights = viewer.liked_weights if weighted else np.ones(len(viewer.liked), np.float32)
    if not len(viewer.dismissed):
        return viewer.liked, weights
    against = np.full(len(viewer.dismissed), -AGAINST, np.float32)
    return np.concatenate([viewer.liked, viewer.dismissed]), np.concatenate([weights, against])
