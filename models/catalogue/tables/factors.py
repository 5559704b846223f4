"""Tables that are vectors, asked with the viewer's history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.tables.scores import MOST_STANDARD, history_of_viewer
from models.catalogue.viewers.viewer import NOTHING, Indices, Viewer
from models.data.arrays import top_places
from models.data.ragged import Ragged

SCANNED = 4_000_000
"""Numbers of a table that are read to find its best items (2 ms); a larger one names none, and
scores what the other tables name."""


Moments = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and covariance of items' vectors, shapes (dims,) and (dims, dims): with them a user's mean
and spread over all items cost no look at the items."""


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
    by_history: ClassVar[bool] = True
    folded: NDArray[np.float32]
    factors: NDArray[np.float32]
    fade: float | None = None
    weighted: bool = False

    def ask(self, viewer: Viewer, likes: Ragged) -> FactorScores:
        """O(items of the viewer * dims)."""
        asked, weights = history_of_viewer(viewer, self.fade, weighted=self.weighted)
        in_table = asked < len(self.folded)
        user = weights[in_table] @ self.folded[asked[in_table]]
        return FactorScores(np.asarray(user, np.float32), self.factors, self._moments)

    def scores(
        self, asked: sparse.csr_array, users: NDArray[np.integer], likes: sparse.csr_array
    ) -> NDArray[np.float32]:
        return np.asarray((asked @ self.folded) @ self.factors.T, np.float32)

    @cached_property
    def _moments(self) -> Moments:
        return moments_of(self.factors)


@dataclass(frozen=True)
class VectorTable:
    """Vectors of users against vectors of items, both as training left them: ``score(i) =
    vectors[u] · factors[i]``. Who came after it has none.

    Attributes:
        vectors: float32, shape (users, dims).
        factors: float32, shape (items, dims).
    """

    kind: ClassVar[str] = "vectors"
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"vectors": ("users",), "factors": ("items",)}
    by_history: ClassVar[bool] = False
    vectors: NDArray[np.float32]
    factors: NDArray[np.float32]
    fade: float | None = None
    weighted: bool = False

    @classmethod
    def of(
        cls,
        users: NDArray[np.float32],
        items: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> Self:
        """Of scores ``user · item + item bias``."""
        ones = np.ones((len(users), 1), np.float32)
        return cls(np.hstack([users, ones]), np.hstack([items, bias[:, None]]))

    def ask(self, viewer: Viewer, likes: Ragged) -> FactorScores:
        """O(dims)."""
        trained = viewer.row is not None and viewer.row < len(self.vectors)
        none = np.zeros(self.factors.shape[1], np.float32)
        return FactorScores(
            self.vectors[viewer.row] if trained else none, self.factors, self._moments
        )

    def scores(
        self, asked: sparse.csr_array, users: NDArray[np.integer], likes: sparse.csr_array
    ) -> NDArray[np.float32]:
        return self.vectors[users] @ self.factors.T

    @cached_property
    def _moments(self) -> Moments:
        return moments_of(self.factors)


@dataclass(frozen=True)
class FactorScores:
    """What vectors say for one viewer: as ``TableScores``, but only the items that are asked for
    are scored."""

    user: NDArray[np.float32]
    factors: NDArray[np.float32]
    moments: Moments

    def standard(self, rows: Indices) -> NDArray[np.float32]:
        """O(n * dims + dims²)."""
        mean, covariance = self.moments
        user = self.user.astype(np.float64)
        spread = math.sqrt(max(float(user @ covariance @ user), 0.0))
        if spread <= 0:
            return np.zeros(len(rows), np.float32)
        scores, in_table = np.zeros(len(rows)), rows < len(self.factors)
        scores[in_table] = self.factors[rows[in_table]] @ self.user
        standard = (scores - float(mean @ user)) / spread
        return np.clip(standard, -MOST_STANDARD, MOST_STANDARD).astype(np.float32)

    def best(self, count: int) -> Indices:
        """O(items * dims) up to ``SCANNED``, else none."""
        if self.factors.size > SCANNED or not self.user.any():
            return NOTHING
        scores = self.factors @ self.user
        best = top_places(scores, count)
        return best[scores[best] > 0].astype(np.int32)


def moments_of(factors: NDArray[np.float32]) -> Moments:
    mean = factors.mean(axis=0, dtype=np.float64)
    squares = (factors.T @ factors).astype(np.float64) / max(len(factors), 1)
    return mean, squares - np.outer(mean, mean)
