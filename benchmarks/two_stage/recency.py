"""What comes next: recommenders for which a user's newest items count most.

A row of a user holds ``exp(-steps / fade)`` for each item, steps being the distinct moments since.
``F[j, i] = Σ_users exp(-steps from j to i / scale)`` over the pairs where i came after j:

- ``Followers`` scores ``Σ_j row_j F[j, i] / n_j``: how often i follows j, as sequential rules do
  (Kamehkhosh, Jannach and Ludewig 2017, "A comparison of frequent pattern techniques and a deep
  learning method for session-based recommendation").
- ``LinearFollowers`` learns the weights from the row to what follows by ridge regression, with F
  and its transpose in place of the co-occurrences: ``B = (F + Fᵀ + diag(n) + λI)⁻¹ F`` (Choi et al.
  2021, "Session-aware linear item-item models for session-based recommendation").
- ``RecentEase`` is EASE (Steck 2019) asked with that row.
- ``PopularThen`` knows what was popular when the user was last about, for data in which that is
  years apart; where all are asked at the same moment it is a windowed popularity.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from benchmarks.two_stage.first_stage import Learner
from benchmarks.two_stage.sessions import Histories, Nearness, SessionEase, SessionNeighbours
from models.recommenders.base import Dataset, Progress
from models.recommenders.factorisation.als import ALS
from models.recommenders.neighbours.knn import ItemKNN, UserKNN

SMOOTHING = 2.0
DAY = 86_400.0


@dataclass(frozen=True)
class Following:
    """
    Attributes:
        scale: steps at which a follower counts 1/e.
        reach: how many of the items that come after are looked at.
    """

    scale: float = 20.0
    reach: int = 60


USUAL = Following()


def recent_rows(histories: Histories, fade: float, shape: tuple[int, int]) -> sparse.csr_array:
    """``exp(-steps since / fade)`` of each pair, float32 CSR of that shape. O(n)."""
    last = np.zeros(shape[0])
    np.maximum.at(last, histories.users, histories.steps)
    weights = np.exp((histories.steps - last[histories.users]) / fade).astype(np.float32)
    return sparse.csr_array((weights, (histories.users, histories.items)), shape=shape)


def followers(histories: Histories, following: Following, n_items: int) -> sparse.csr_array:
    """F, float32, shape (items, items): row j, column i. What came at the same moment follows
    by half in both directions. O(n * reach)."""
    total = sparse.csr_array((n_items, n_items), dtype=np.float32)
    users, items, steps = histories.users, histories.items, histories.steps
    for lag in range(1, min(following.reach, len(users) - 1) + 1):
        same = users[lag:] == users[:-lag]
        before, after = items[:-lag][same], items[lag:][same]
        distance = (steps[lag:] - steps[:-lag])[same]
        tied = distance == 0
        weight = np.where(tied, 0.5, np.exp(-distance / following.scale)).astype(np.float32)
        pairs = (np.append(before, after[tied]), np.append(after, before[tied]))
        both = (np.append(weight, weight[tied]), pairs)
        total = total + sparse.csr_array(both, shape=(n_items, n_items))
    return sparse.csr_array(total)


class _Recent(ABC):
    """Scores of a faded row by a matrix of some items by the same: the ``max_items`` most used.
    What is beyond scores 0."""

    name: str

    def __init__(self, times: sparse.csr_array, *, fade: float, max_items: int) -> None:
        """``times``: epoch seconds of each pair, shape (users, items); more pairs may be in it
        than in the dataset, and are not looked at."""
        self._times, self._fade, self._max = times, fade, max_items

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        known = dataset.matrix.values
        counts = np.bincount(known.indices, minlength=known.shape[1])
        self._kept = np.sort(np.argsort(-counts, kind="stable")[: self._max])
        histories = Histories.of(known, self._times)
        self._rows = recent_rows(histories, self._fade, known.shape)
        self._weights = self._learnt(known, histories, counts)
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        rows = self._rows[users]
        found = rows[:, self._kept] @ self._weights
        scores = np.zeros(rows.shape, np.float32)
        scores[:, self._kept] = found.toarray() if sparse.issparse(found) else found
        return scores

    @abstractmethod
    def _learnt(
        self, known: sparse.csr_array, histories: Histories, counts: NDArray[np.int64]
    ) -> sparse.csr_array | NDArray[np.float32]:
        """Shape (kept, kept); a row is what is known, a column what it speaks for."""


class Followers(_Recent):
    """O(n * reach)."""

    name = "followers"

    def __init__(
        self,
        times: sparse.csr_array,
        following: Following = USUAL,
        *,
        fade: float = 4.0,
        max_items: int = 100_000,
    ) -> None:
        super().__init__(times, fade=fade, max_items=max_items)
        self._following = following

    def _learnt(
        self, known: sparse.csr_array, histories: Histories, counts: NDArray[np.int64]
    ) -> sparse.csr_array:
        rare = sparse.diags_array((1 / (counts[self._kept] + SMOOTHING)).astype(np.float32))
        found = followers(histories, self._following, known.shape[1])
        return sparse.csr_array(rare @ found[self._kept][:, self._kept])


class LinearFollowers(_Recent):
    """O(n * reach + max_items³)."""

    name = "linear_followers"

    def __init__(
        self,
        times: sparse.csr_array,
        following: Following = USUAL,
        *,
        fade: float = 4.0,
        ridge: float = 400.0,
        max_items: int = 3_500,
    ) -> None:
        super().__init__(times, fade=fade, max_items=max_items)
        self._following, self._ridge = following, ridge

    def _learnt(
        self, known: sparse.csr_array, histories: Histories, counts: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        found = followers(histories, self._following, known.shape[1])
        after = found[self._kept][:, self._kept].toarray()
        gram = after + after.T
        np.fill_diagonal(gram, counts[self._kept] + self._ridge)
        # Quicker than ``solve``, whose symmetric form is not blocked.
        weights = linalg.inv(gram, overwrite_a=True, check_finite=False) @ after
        np.fill_diagonal(weights, 0)
        return np.asarray(weights, np.float32)


class RecentEase(_Recent):
    """O(max_items³)."""

    name = "recent_ease"

    def __init__(
        self,
        times: sparse.csr_array,
        *,
        fade: float = 5.0,
        ridge: float = 300.0,
        max_items: int = 3_500,
    ) -> None:
        super().__init__(times, fade=fade, max_items=max_items)
        self._ridge = ridge

    def _learnt(
        self, known: sparse.csr_array, histories: Histories, counts: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        ones = np.ones(known.nnz, np.float32)
        rows = sparse.csr_array((ones, known.indices, known.indptr), shape=known.shape)
        rows = rows[:, self._kept]
        gram = np.asarray((rows.T @ rows).toarray(), np.float32)
        np.fill_diagonal(gram, counts[self._kept] + self._ridge)
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False, assume_a="pos")
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0)
        return np.asarray(weights, np.float32)


class PopularThen:
    """Items by how many took to them about the time of the user's newest: O(n) a user."""

    name = "popular_then"

    def __init__(self, times: sparse.csr_array, *, days: float = 365.0) -> None:
        """``days``: the distance in time at which an interaction counts 1/e."""
        self._times, self._days = times, days

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        known = dataset.matrix.values
        self._shape, self._histories = known.shape, Histories.of(known, self._times)
        self._newest = np.zeros(known.shape[0])
        np.maximum.at(self._newest, self._histories.users, self._histories.seconds)
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        seconds, items = self._histories.seconds, self._histories.items
        distance = np.abs(self._newest[users][:, None] - seconds) / (self._days * DAY)
        places = (np.arange(len(items)), items)
        which = sparse.csr_array(
            (np.ones(len(items), np.float32), places), shape=(len(items), self._shape[1])
        )
        return np.asarray(np.exp(-distance).astype(np.float32) @ which, np.float32)


def recent_first_stage(times: sparse.csr_array) -> dict[str, Callable[[], Learner]]:
    """The first stage of two, beside EASE, where what a user did last tells what comes next."""
    minutes = Nearness("seconds", 300.0)
    return {
        "user_knn": UserKNN,
        "item_knn": ItemKNN,
        "als": ALS,
        "popular_then": lambda: PopularThen(times),
        "recent_ease": lambda: RecentEase(times),
        "session_ease": lambda: SessionEase(times, Nearness("steps", 10.0)),
        "minutes_ease": lambda: SessionEase(times, minutes),
        "session": lambda: SessionNeighbours(times, Nearness("steps", 3.0, reach=15)),
        "followers": lambda: Followers(times),
        "followers_long": lambda: Followers(times, Following(40.0, 100), fade=12.0),
        "followers_last": lambda: Followers(times, Following(5.0, 20), fade=1.5),
        "linear_followers": lambda: LinearFollowers(times),
    }
