"""Tables that are vectors, asked with the viewer's history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.tables.scores import MOST_STANDARD, history_of_viewer
from models.catalogue.viewer import NOTHING, Indices, Viewer
from models.data.arrays import top_places
from models.data.ragged import Ragged

SCANNED = 4_000_000
"""Numbers of a table that are read to find its best items (2 ms); a larger one names none, and
scores what the other tables name."""


@dataclass(frozen=True)
class FactorTable:
    """Vectors of items, against the sum of what the viewer's items add to theirs::

        score(i) = user · factors[i],   user = Σ_j weight(j) folded[j]

    Attributes:
        folded: float32, shape (items, dims).
        factors: float32, shape (items, dims).
        fade, weighted: as of ``ItemTable``.
    """

    kind: ClassVar[str] = "factors"
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"folded": ("items",), "factors": ("items",)}
    folded: NDArray[np.float32]
    factors: NDArray[np.float32]
    fade: float | None = None
    weighted: bool = False

    def ask(self, viewer: Viewer, likes: Ragged) -> FactorScores:
        """O(items of the viewer * dims)."""
        asked, weights = history_of_viewer(viewer, self.fade, weighted=self.weighted)
        in_table = asked < len(self.folded)
        user = weights[in_table] @ self.folded[asked[in_table]]
        return FactorScores(self, np.asarray(user, np.float32))

    def scores(
        self, asked: sparse.csr_array, users: NDArray[np.integer], likes: sparse.csr_array
    ) -> NDArray[np.float32]:
        return np.asarray((asked @ self.folded) @ self.factors.T, np.float32)

    @cached_property
    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and covariance of the factors, shapes (dims,) and (dims, dims): with them a user's
        mean and spread over all items cost no look at the items."""
        mean = self.factors.mean(axis=0, dtype=np.float64)
        squares = (self.factors.T @ self.factors).astype(np.float64) / max(len(self.factors), 1)
        return mean, squares - np.outer(mean, mean)


@dataclass(frozen=True)
class FactorScores:
    """What a ``FactorTable`` says for one viewer, whose vector is ``user``: as ``TableScores``, but
    only the items that are asked for are scored."""

    table: FactorTable
    user: NDArray[np.float32]

    def standard(self, rows: Indices) -> NDArray[np.float32]:
        """Standard scores of some items, shape (n,). O(n * dims + dims²)."""
        mean, covariance = self.table.moments
        user = self.user.astype(np.float64)
        spread = math.sqrt(max(float(user @ covariance @ user), 0.0))
        if spread <= 0:
            return np.zeros(len(rows), np.float32)
        factors, scores = self.table.factors, np.zeros(len(rows))
        in_table = rows < len(factors)
        scores[in_table] = factors[rows[in_table]] @ self.user
        standard = (scores - float(mean @ user)) / spread
        return np.clip(standard, -MOST_STANDARD, MOST_STANDARD).astype(np.float32)

    def best(self, count: int) -> Indices:
        """The items with the highest scores above 0, best first."""
        if self.table.factors.size > SCANNED or not self.user.any():
            return NOTHING
        scores = self.table.factors @ self.user
        best = top_places(scores, count)
        return best[scores[best] > 0].astype(np.int32)
