"""Every kind of score table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.tables.scores import TableScores, history_of_viewer
from models.catalogue.viewers.viewer import NOTHING, Viewer
from models.data.arrays import top_places
from models.data.ragged import Ragged

PRIOR = 2.0
"""Items that a viewer's taste is mixed with."""
LEAST = 1e-3
"""Share of a feature that nobody has."""


@dataclass(frozen=True)
class ItemTable:
    """What speaks for what: ``score(i) = Σ_j weight(j) related[j, i]`` over the viewer's items j.

    Attributes:
        related: row j: the items for which liking j speaks, and how much. Rows of items.
        fade: None: all liked items count the same. Else the items liked last, where the n-th
            newest counts ``exp(-n / fade)``, n from 0.
        weighted: an item counts by how much it is liked.
        made_by: the recommender and its settings, by which the table can be kept up to date
            between trainings; None: only a training makes it.
    """

    kind: ClassVar[str] = "items"
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"related": ("items", "items")}
    by_history: ClassVar[bool] = True
    related: Ragged
    fade: float | None = None
    weighted: bool = False
    made_by: Mapping[str, Any] | None = None

    def ask(self, viewer: Viewer, likes: Ragged) -> TableScores:
        """O(items of the viewer * entries of a row)."""
        asked, weights = history_of_viewer(viewer, self.fade, weighted=self.weighted)
        has_row = asked < self.related.rows
        entries = self.related.gather(asked[has_row])
        scores = entries.values * np.repeat(weights[has_row], np.diff(entries.indptr))
        return TableScores.summed(entries.indices, scores, self.related.rows)

    def scores(
        self, asked: sparse.csr_array, users: NDArray[np.integer], likes: sparse.csr_array
    ) -> NDArray[np.float32]:
        return np.asarray((asked @ self.related.to_csr(self.related.rows)).toarray(), np.float32)


@dataclass(frozen=True)
class UserTable:
    """What similar users like: ``score(i) = Σ_v sim(v) [v likes i]`` over the nearest users v.

    ``sim(v) = Σ_j weight(j) rarity(j) fans[j, v]`` over the viewer's items j: up to a factor, the
    cosine.

    Attributes:
        fans: row j: users who like item j, and its share of their length.
        rarity: float32, shape (items,): how much having an item in common says.
        neighbours: how many users count.
        fade, weighted: as of ``ItemTable``.
    """

    kind: ClassVar[str] = "users"
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "fans": ("items", "users"),
        "rarity": ("items",),
    }
    by_history: ClassVar[bool] = True
    fans: Ragged
    rarity: NDArray[np.float32]
    neighbours: int = 100
    fade: float | None = None
    weighted: bool = False

    def ask(self, viewer: Viewer, likes: Ragged) -> TableScores:
        """O(fans of the viewer's items + users + likes of the nearest)."""
        n_items = self.fans.rows
        asked, weights = history_of_viewer(viewer, self.fade, weighted=self.weighted)
        has_row = asked < n_items
        asked, weights = asked[has_row], weights[has_row] * self.rarity[asked[has_row]]
        fans = self.fans.gather(asked)
        shared = fans.values * np.repeat(weights, np.diff(fans.indptr))
        counted = np.bincount(fans.indices, weights=shared, minlength=likes.rows)
        totals = counted.astype(np.float64, copy=False)
        if viewer.row is not None and viewer.row < len(totals):
            totals[viewer.row] = 0  # nobody is a neighbour of oneself
        users = np.flatnonzero(totals)
        users = users[top_places(totals[users], self.neighbours)]
        liked = likes.gather(users)
        similar = np.repeat(totals[users], np.diff(liked.indptr))
        votes = similar * liked.values if self.weighted else similar
        return TableScores.summed(liked.indices, votes, n_items)

    def scores(
        self, asked: sparse.csr_array, users: NDArray[np.integer], likes: sparse.csr_array
    ) -> NDArray[np.float32]:
        rare = sparse.csr_array(asked * self.rarity[None, :])
        shared = (rare @ self.fans.to_csr(likes.shape[0])).toarray()
        shared[np.arange(len(users)), users] = 0
        if self.neighbours < shared.shape[1]:
            least = -np.partition(-shared, self.neighbours - 1, axis=1)[:, self.neighbours - 1]
            shared[shared < least[:, None]] = 0
        if not self.weighted:
            likes = sparse.csr_array(
                (np.ones(likes.nnz, np.float32), likes.indices, likes.indptr), shape=likes.shape
            )
        return np.asarray((sparse.csr_array(shared) @ likes).toarray(), np.float32)


@dataclass(frozen=True)
class ConstantTable:
    """The same for everybody, as popularity is.

    Attributes:
        of_items: float32, shape (items,).
    """

    kind: ClassVar[str] = "constant"
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"of_items": ("items",)}
    by_history: ClassVar[bool] = False
    of_items: NDArray[np.float32]
    fade: float | None = None
    weighted: bool = False

    def ask(self, viewer: Viewer, likes: Ragged) -> TableScores:
        return self._answer

    @cached_property
    def _answer(self) -> TableScores:
        rows = np.arange(len(self.of_items), dtype=np.int32)
        return TableScores(rows, self.of_items, len(self.of_items))

    def scores(
        self, asked: sparse.csr_array, users: NDArray[np.integer], likes: sparse.csr_array
    ) -> NDArray[np.float32]:
        return np.tile(self.of_items, (len(users), 1))


@dataclass(frozen=True)
class TasteTable:
    """How an item is described, against what the viewer likes::

        score(i) = Σ_f described[i, f] * log(mine(f) / shares(f))

    ``mine(f)`` is the feature's share among what the viewer likes, mixed with ``PRIOR`` items as
    everybody likes them. So what describes an item that nobody has touched speaks for it too.

    Attributes:
        described: row i: the features of item i; those of one kind (tags, category) sum to 1.
        shares: float32, shape (features,): of each feature within its kind, in all that is liked.
        kinds: int32, shape (features,): number of the kind that each feature is of.
        fade, weighted: as of ``ItemTable``.
    """

    kind: ClassVar[str] = "taste"
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "described": ("items", "features"),
        "shares": ("features",),
        "kinds": ("features",),
    }
    by_history: ClassVar[bool] = True
    described: Ragged
    shares: NDArray[np.float32]
    kinds: NDArray[np.int32]
    fade: float | None = None
    weighted: bool = False

    def ask(self, viewer: Viewer, likes: Ragged) -> TableScores:
        """O(features of the viewer's items + features of all items)."""
        asked, weights = history_of_viewer(viewer, self.fade, weighted=self.weighted)
        has_row = asked < self.described.rows
        if not has_row.any():
            return TableScores.summed(NOTHING, np.zeros(0), self.described.rows)
        tagged = self.described.gather(asked[has_row])
        values = tagged.values * np.repeat(weights[has_row], np.diff(tagged.indptr))
        held = np.bincount(tagged.indices, values, len(self.shares)).astype(np.float64, copy=False)
        scores = self._matrix @ self._lifts(held[None, :])[0]
        rows = np.arange(self.described.rows, dtype=np.int32)
        return TableScores(rows, scores, self.described.rows)

    def scores(
        self, asked: sparse.csr_array, users: NDArray[np.integer], likes: sparse.csr_array
    ) -> NDArray[np.float32]:
        held = (asked @ self._matrix).toarray()
        nobody = np.diff(asked.indptr) == 0
        scores = np.asarray((self._matrix @ self._lifts(held).T).T, np.float32)
        scores[nobody] = 0
        return scores

    @cached_property
    def _matrix(self) -> sparse.csr_array:
        return self.described.to_csr(len(self.shares))

    def _lifts(self, held: NDArray[np.floating]) -> NDArray[np.float32]:
        """Of each feature, shape of ``held``: (n, features)."""
        held = np.maximum(held, 0)  # what was dismissed takes off, and no more
        of_kind = np.zeros((len(held), int(self.kinds.max(initial=-1)) + 1))
        np.add.at(of_kind.T, self.kinds, held.T)
        mine = (held + PRIOR * self.shares) / (of_kind[:, self.kinds] + PRIOR)
        return np.log((mine + LEAST) / (self.shares + LEAST)).astype(np.float32)


@dataclass(frozen=True)
class GroupTable:
    """What people like the viewer like: ``score(i) = Σ_f members[u, f] lifts[i, f]``, for who tells
    something about themselves, likes or no likes.

    Attributes:
        members: float32, shape (users, features): what is known of each user; sums to 1, or is 0.
        lifts: float32, shape (items, features): log of the item's share among what users of the
            feature like over its share in all that is liked.
    """

    kind: ClassVar[str] = "groups"
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"members": ("users",), "lifts": ("items",)}
    by_history: ClassVar[bool] = False
    members: NDArray[np.float32]
    lifts: NDArray[np.float32]
    fade: float | None = None
    weighted: bool = False

    def ask(self, viewer: Viewer, likes: Ragged) -> TableScores:
        """O(items * features); nothing of users who came after the training."""
        has_row = viewer.row is not None and viewer.row < len(self.members)
        if not has_row or not self.members[viewer.row].any():
            return TableScores.summed(NOTHING, np.zeros(0), len(self.lifts))
        rows = np.arange(len(self.lifts), dtype=np.int32)
        return TableScores(rows, self.lifts @ self.members[viewer.row], len(self.lifts))

    def scores(
        self, asked: sparse.csr_array, users: NDArray[np.integer], likes: sparse.csr_array
    ) -> NDArray[np.float32]:
        return self.members[users] @ self.lifts.T
