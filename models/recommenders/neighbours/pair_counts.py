"""Counts of pairs of items: what a table of items by items is made of, as a sum over users.

Every summand is a multiple of ``1 / EXACT``, so float64 sums of them are exact: whatever was added
and taken off, in whatever order, the counts are those that are made anew, bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.tables.scores import Histories

EXACT = 2.0**24
"""2^29 users may share a pair before a sum is rounded."""


@dataclass(frozen=True)
class PairCounts:
    """
    Attributes:
        pairs: float64 CSR, shape (items, items), canonical, without zeros.
        of_items: float64, shape (items,).
    """

    pairs: sparse.csr_array
    of_items: NDArray[np.float64]

    @classmethod
    def of(cls, pairs: sparse.csr_array, of_items: NDArray[Any]) -> PairCounts:
        pairs.sum_duplicates()
        pairs.eliminate_zeros()
        return cls(pairs, of_items.astype(np.float64, copy=False))

    def __add__(self, other: PairCounts) -> PairCounts:
        return PairCounts.of(self.pairs + other.pairs, self.of_items + other.of_items)

    def __sub__(self, other: PairCounts) -> PairCounts:
        return PairCounts.of(self.pairs - other.pairs, self.of_items - other.of_items)

    @property
    def rows(self) -> NDArray[np.intp]:
        """Items of which anything is counted, ascending."""
        return np.flatnonzero((np.diff(self.pairs.indptr) > 0) | (self.of_items != 0))

    def with_items(self, items: int) -> PairCounts:
        """The same with room for so many items."""
        of_items = np.pad(self.of_items, (0, items - len(self.of_items)))
        return PairCounts(larger(self.pairs, items, items), of_items)


class Countable(Protocol):
    """A recommender whose table follows from counts of pairs."""

    name: str
    settings: Any

    @property
    def countable(self) -> bool:
        """Whether it does so with its settings."""
        ...

    def entries(self, histories: Histories) -> int:
        """That the counts of these users have at most."""
        ...

    def counts(self, histories: Histories, n_items: int) -> PairCounts:
        """Of these users; those of all are the sum.

        Args:
            n_items: of the catalogue that the recommender was trained on.
        """
        ...

    def related(
        self, counts: PairCounts, before: sparse.csr_array | None, changed: NDArray[np.integer]
    ) -> sparse.csr_array:
        """The table, shape (items, items).

        Args:
            before: the table before ``counts`` changed; None: there is none.
            changed: rows of ``counts`` that have changed since.
        """
        ...


def made_by(recommender: Countable, n_items: int) -> dict[str, Any] | None:
    """What a table notes of who made it, as JSON, so that it can be kept up to date; None: it
    waits for the next training."""
    if not recommender.countable:
        return None
    settings = recommender.settings.model_dump(mode="json")
    return {"recommender": recommender.name, "settings": settings, "items": n_items}


def exact(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """The nearest numbers whose sums are exact."""
    return np.rint(weights.astype(np.float64) * EXACT) / EXACT


def with_rows(
    matrix: sparse.csr_array, rows: NDArray[np.integer], by: sparse.csr_array
) -> sparse.csr_array:
    """The matrix with these rows replaced. O(entries)."""
    n_rows = matrix.shape[0]
    place = np.arange(n_rows)
    place[rows] = n_rows + np.arange(len(rows))
    return sparse.csr_array(sparse.vstack([matrix, by], format="csr")[place])


def larger(matrix: sparse.csr_array, rows: int, columns: int) -> sparse.csr_array:
    """The matrix with room for so many rows and columns."""
    indptr = np.pad(matrix.indptr, (0, rows - matrix.shape[0]), mode="edge")
    return sparse.csr_array((matrix.data, matrix.indices, indptr), shape=(rows, columns))
