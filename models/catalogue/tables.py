"""Score tables: what a version ranks by beside its vectors, asked with a viewer's own history.

A table is asked at request time, so an event counts at once and a new user needs no vector. The
blend weighs the tables' standard scores, each ``(score - mean) / spread`` over all items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.viewer import AGAINST, NOTHING, Indices, Viewer
from models.data.arrays import entries_at, top_places
from models.data.matrices import RECENT_ITEMS
from models.data.ragged import Ragged

VECTORS = "vectors"
"""The name by which a blend weighs the snapshot's vectors."""
MOST_STANDARD = 50.0
"""Standard scores are cut there: where few of many items have any score, the best stand far out."""


@dataclass(frozen=True)
class TableScores:
    """What a table says for one viewer.

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
        found = np.flatnonzero(totals)
        return cls(found.astype(np.int32), totals[found].astype(np.float32), n_items)

    @cached_property
    def _mean_and_spread(self) -> tuple[float, float]:
        n, scores = max(self.n_items, 1), self.scores.astype(np.float64)
        mean = float(scores.sum()) / n
        return mean, math.sqrt(max(float(scores @ scores) / n - mean * mean, 0.0))

    def standard(self, rows: Indices) -> NDArray[np.float32]:
        """Standard scores of some items, shape (n,); all 0 where no item differs from another."""
        mean, spread = self._mean_and_spread
        if spread <= 0:
            return np.zeros(len(rows), np.float32)
        place = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        scores = np.where(self.rows[place] == rows, self.scores[place], 0)
        standard = (scores - mean) / spread
        return np.clip(standard, -MOST_STANDARD, MOST_STANDARD).astype(np.float32)

    def best(self, count: int) -> Indices:
        """The items with the highest scores above 0, best first."""
        best = top_places(self.scores, count)
        return self.rows[best[self.scores[best] > 0]]


class ScoreTable(Protocol):
    """Scores items for anybody, by what they did: one viewer as the feed asks, or many at once."""

    kind: ClassVar[str]

    @property
    def fade(self) -> float | None: ...

    @property
    def weighted(self) -> bool: ...

    def ask(self, viewer: Viewer, likes: Ragged) -> TableScores:
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
class ItemTable:
    """What speaks for what: ``score(i) = Σ_j weight(j) related[j, i]`` over the viewer's items j.

    Attributes:
        related: row j: the items for which liking j speaks, and how much. Rows of items.
        fade: None: all liked items count the same. Else the items liked last, where the n-th
            newest counts ``exp(-n / fade)``, n from 0.
        weighted: an item counts by how much it is liked.
    """

    kind: ClassVar[str] = "items"
    related: Ragged
    fade: float | None = None
    weighted: bool = False

    def ask(self, viewer: Viewer, likes: Ragged) -> TableScores:
        """O(items of the viewer * entries of a row)."""
        asked, weights = history_of_viewer(viewer, self.fade, weighted=self.weighted)
        known = asked < self.related.rows
        found = self.related.gather(asked[known])
        scores = found.values * np.repeat(weights[known], np.diff(found.indptr))
        return TableScores.summed(found.indices, scores, self.related.rows)

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
    fans: Ragged
    rarity: NDArray[np.float32]
    neighbours: int = 100
    fade: float | None = None
    weighted: bool = False

    def ask(self, viewer: Viewer, likes: Ragged) -> TableScores:
        """O(fans of the viewer's items + users + likes of the nearest)."""
        n_items = self.fans.rows
        asked, weights = history_of_viewer(viewer, self.fade, weighted=self.weighted)
        known = asked < n_items
        asked, weights = asked[known], weights[known] * self.rarity[asked[known]]
        found = self.fans.gather(asked)
        shared = found.values * np.repeat(weights, np.diff(found.indptr))
        counted = np.bincount(found.indices, weights=shared, minlength=likes.rows)
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


TABLES: dict[str, type[Any]] = {
    table.kind: table for table in (ItemTable, UserTable, ConstantTable)
}
"""Every kind of table, by the name it is stored under."""


@dataclass(frozen=True)
class Blend:
    """How a version weighs its tables.

    Attributes:
        weights: name of a table, or ``VECTORS`` → at least 0.
        centre, spread: what blended scores usually are at place ten of a list, and how far its
            first fifty differ: they scale what people see.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    centre: float = 0.0
    spread: float = 1.0


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
        at, place, items = self._newest_first(users, rows)
        weights = np.exp(-place / fade).astype(np.float32)
        return sparse.csr_array((weights, (at, items)), shape=rows.shape)

    def newest(self, users: NDArray[np.integer]) -> NDArray[np.int32]:
        """As ``recent``, shape (n, ``RECENT_ITEMS``); nothing where no order is known."""
        found = np.full((len(users), RECENT_ITEMS), -1, np.int32)
        if self.recent is not None or self.times is not None:
            at, place, items = self._newest_first(users, self.liked[users])
            found[at, place] = items
        return found

    def _newest_first(
        self, users: NDArray[np.integer], rows: sparse.csr_array
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.integer]]:
        """The newest entries of the rows: row, place in it from 0, and item."""
        if self.recent is not None:
            recent = self.recent[users]
            at, place = np.nonzero(recent >= 0)
            return at, place, recent[at, place]
        if self.times is None:
            raise ValueError("times are not known: nothing can fade")
        at = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        times = entries_at(self.times, np.asarray(users)[at], rows.indices)
        order = np.lexsort((rows.indices, -times, at))
        place = np.arange(len(order)) - rows.indptr[at[order]]
        kept = place < RECENT_ITEMS
        return at[order][kept], place[kept], rows.indices[order][kept]


def table_settings(table: ScoreTable) -> dict[str, Any]:
    """What is not an array of a table: its kind and settings."""
    return {"kind": table.kind} | {
        name: value for name, value in _parts(table).items() if not _is_column(value)
    }


def table_arrays(tables: Mapping[str, ScoreTable]) -> dict[str, NDArray]:
    """The arrays of all tables, by the names under which they are stored."""
    arrays: dict[str, NDArray] = {}
    for name, table in tables.items():
        for part, column in _parts(table).items():
            if isinstance(column, Ragged):
                for suffix, array in column._asdict().items():
                    arrays[f"tables.{name}.{part}.{suffix}"] = array
            elif isinstance(column, np.ndarray):
                arrays[f"tables.{name}.{part}"] = column
    return arrays


def read_tables(
    settings: Mapping[str, Mapping[str, Any]], array: Callable[[str], NDArray]
) -> dict[str, ScoreTable]:
    """What ``table_arrays`` and ``table_settings`` stored.

    Args:
        settings: by table. array: the one of a name.

    Raises:
        ValueError: a kind that this release does not know.
    """
    tables: dict[str, ScoreTable] = {}
    for name, of_table in settings.items():
        kind = TABLES.get(of_table["kind"])
        if kind is None:
            raise ValueError(f"table {name}: no kind {of_table['kind']!r} in this release")
        given = {key: value for key, value in of_table.items() if key != "kind"}
        for part in fields(kind):
            if part.name in given:
                continue
            stored = f"tables.{name}.{part.name}"
            if part.type == "Ragged":
                given[part.name] = Ragged(*(array(f"{stored}.{one}") for one in Ragged._fields))
            else:
                given[part.name] = array(stored)
        tables[name] = kind(**given)
    return tables


def check_tables(tables: Mapping[str, ScoreTable], items: int, users: int) -> None:
    """
    Raises:
        ValueError: an array does not fit the number of items or users; the message names it.
    """
    for name, table in tables.items():
        for part, column in _parts(table).items():
            if not _is_column(column):
                continue
            rows = column.rows if isinstance(column, Ragged) else len(column)
            values = column.values if isinstance(column, Ragged) else column
            if rows != items:
                raise ValueError(f"column tables.{name}.{part}: {rows} rows, expected {items}")
            if not np.isfinite(values).all():
                raise ValueError(f"column tables.{name}.{part}: a value is not finite")
            if isinstance(column, Ragged):
                _check_entries(f"tables.{name}.{part}", column, users if part == "fans" else items)


def _check_entries(name: str, column: Ragged, most: int) -> None:
    entries = column.indices
    if not column.indptr[-1] == len(entries) == len(column.values):
        raise ValueError(f"column {name}: its entries do not fit its rows")
    if len(entries) and not 0 <= entries.min() <= entries.max() < most:
        raise ValueError(f"column {name}: an entry is no row of {most}")


def _parts(table: ScoreTable) -> dict[str, Any]:
    return {one.name: getattr(table, one.name) for one in fields(table)}  # type: ignore[arg-type]


def _is_column(value: object) -> bool:
    return isinstance(value, Ragged | np.ndarray)


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
