"""What is used together in time: items that follow each other when somebody looks around.

Item i and j are near each other by ``K[i, j] = Σ_users exp(-distance / scale)``, the distance of
the two in the user's own history, in seconds or in steps. It knows which page or search result
items share, which counting them in the same basket does not.

- ``SessionNeighbours`` scores ``Σ_j K[i, j] / sqrt(n_i n_j)`` over the user's items j: item-based
  nearest neighbours (Sarwar et al. 2001) with that nearness. ``between`` sums over the gaps of the
  history instead: ``sqrt(N[i, j] N[i, j'])`` of each two that follow each other.
- ``SessionEase`` is EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data") with K
  in place of the counts of co-occurrence.
- ``SessionUsers`` asks of each interaction of the others how much of what was around it the user
  has too: neighbours (Herlocker et al. 1999) by a stretch of a history, not only by the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.recommenders.base import Dataset, Progress

SMOOTHING = 2.0
BLOCK = 256  # users that are scored at once


@dataclass(frozen=True)
class Nearness:
    """
    Attributes:
        unit: of the distance. Steps count the distinct moments between two items.
        scale: the distance at which the nearness is 1/e.
        reach: how many items before and after are looked at.
    """

    unit: Literal["steps", "seconds"]
    scale: float
    reach: int = 40


@dataclass(frozen=True)
class Histories:
    """All users' items in the order of time, one user after the other.

    Attributes:
        users, items: rows and columns, shape (n,).
        seconds, steps: since whatever moment, and distinct moments of the user, shape (n,).
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    seconds: NDArray[np.float64]
    steps: NDArray[np.float64]

    @classmethod
    def of(cls, known: sparse.csr_array, times: sparse.csr_array) -> Self:
        """What a user has in ``known``, at its moment in ``times``. O(n log n).

        Raises:
            ValueError: a pair of ``known`` has no time.
        """
        users = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
        items = known.indices.astype(np.int64)
        seconds = np.asarray(times[users, items]).ravel().astype(np.float64)
        if (seconds == 0).any():
            raise ValueError("times: every pair of the matrix needs its moment, in epoch seconds")
        order = np.lexsort((items, seconds, users))
        users, items, seconds = users[order], items[order], seconds[order]
        steps = np.concatenate(([0], np.cumsum((np.diff(seconds) != 0) | (np.diff(users) != 0))))
        return cls(users, items, seconds, steps[: len(users)].astype(np.float64))


def nearness(histories: Histories, kernel: Nearness, n_items: int) -> sparse.csr_array:
    """K with an empty diagonal, symmetric, float32, shape (items, items). O(n * reach)."""
    distance = histories.steps if kernel.unit == "steps" else histories.seconds
    total = sparse.csr_array((n_items, n_items), dtype=np.float32)
    for lag in range(1, min(kernel.reach, len(distance) - 1) + 1):
        same = histories.users[lag:] == histories.users[:-lag]
        near = np.exp(-(distance[lag:] - distance[:-lag])[same] / kernel.scale)
        pair = (histories.items[lag:][same], histories.items[:-lag][same])
        total = total + sparse.csr_array((near.astype(np.float32), pair), shape=(n_items, n_items))
    return sparse.csr_array(total + total.T)


class SessionNeighbours:
    """Item-based neighbours by nearness in time."""

    name = "session_neighbours"

    def __init__(self, times: sparse.csr_array, kernel: Nearness, *, between: bool = False) -> None:
        """``times``: epoch seconds of each pair, shape (users, items); more pairs may be in it
        than in the dataset, and are not looked at."""
        self._times, self._kernel, self._between = times, kernel, between

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        known = dataset.matrix.values
        self._histories = Histories.of(known, self._times)
        counts = np.bincount(known.indices, minlength=known.shape[1]) + SMOOTHING
        scale = sparse.diags_array((1 / np.sqrt(counts)).astype(np.float32))
        near = nearness(self._histories, self._kernel, known.shape[1])
        self._near = sparse.csr_array(scale @ near @ scale)
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        of_users, items = self._histories.users, self._histories.items
        places = sparse.csr_array(
            (np.ones(len(items), np.float32), (of_users, np.arange(len(items)))),
            shape=(self._times.shape[0], len(items)),
        )[users]
        if not self._between:
            chosen = sparse.csr_array(
                (places.data, items[places.indices], places.indptr),
                shape=(len(users), self._near.shape[0]),
            )
            return (chosen @ self._near).toarray().astype(np.float32)
        first = places.indices
        row = np.repeat(np.arange(len(users)), np.diff(places.indptr))
        follows = np.flatnonzero(row[1:] == row[:-1])
        root = self._near.sqrt()
        both = root[items[first[follows]]].multiply(root[items[first[follows + 1]]])
        gather = sparse.csr_array(
            (np.ones(len(follows), np.float32), (row[follows], np.arange(len(follows)))),
            shape=(len(users), len(follows)),
        )
        return (gather @ sparse.csr_array(both)).toarray().astype(np.float32)


class SessionUsers:
    """User-based neighbours by nearness in time.

    Item i gets, from each user v that has it, ``cosine(u, v)² * share``: the share that u has of
    the items near i in the history of v, those near most and what is rare more.
    O(interactions * (reach * users + users)) to score all.
    """

    name = "session_users"

    def __init__(self, times: sparse.csr_array, kernel: Nearness) -> None:
        """``times`` as of ``SessionNeighbours``."""
        self._times, self._kernel = times, kernel

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        known = dataset.matrix.values
        self._histories = Histories.of(known, self._times)
        counts = np.bincount(known.indices, minlength=known.shape[1])
        rare = np.log((known.shape[0] + 1) / (counts + 1)) + 0.3
        self._around = sparse.csr_array(
            _around(self._histories, self._kernel, known.shape[1])
            @ sparse.diags_array(rare.astype(np.float32))
        )
        self._pattern = sparse.csr_array(
            (np.ones(known.nnz, np.float32), known.indices, known.indptr), shape=known.shape
        )
        weighted = self._pattern @ sparse.diags_array(np.sqrt(rare).astype(np.float32))
        length = np.sqrt(np.asarray((weighted**2).sum(axis=1)).ravel())
        scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
        self._unit = sparse.csr_array(sparse.diags_array(scale) @ weighted)
        self._discount = ((counts + SMOOTHING) ** -0.3).astype(np.float32)
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        owners, items = self._histories.users, self._histories.items
        total = np.asarray(self._around.sum(axis=1)).ravel() + 1
        gather = sparse.csr_array(
            (1 / total, (items, np.arange(len(items)))),
            shape=(self._pattern.shape[1], len(items)),
        )
        scores = np.empty((len(users), self._pattern.shape[1]), np.float32)
        for start in range(0, len(users), BLOCK):
            block = users[start : start + BLOCK]
            share = self._around @ self._pattern[block].toarray().T
            alike = (self._unit @ self._unit[block].T).toarray() ** 2
            alike[block, np.arange(len(block))] = 0  # nobody is a neighbour of oneself
            scores[start : start + BLOCK] = (gather @ (share * alike[owners])).T
        scores *= self._discount
        return scores


def _around(histories: Histories, kernel: Nearness, n_items: int) -> sparse.csr_array:
    """What is near each interaction, itself left out: float32, shape (n, items)."""
    distance = histories.steps if kernel.unit == "steps" else histories.seconds
    none = np.zeros(0, np.int64)
    rows, columns, values = [none], [none], [np.zeros(0)]
    for lag in range(1, min(kernel.reach, len(distance) - 1) + 1):
        same = histories.users[lag:] == histories.users[:-lag]
        first = np.flatnonzero(same)
        near = np.exp(-(distance[first + lag] - distance[first]) / kernel.scale)
        rows += [first, first + lag]
        columns += [histories.items[first + lag], histories.items[first]]
        values += [near, near]
    pairs = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(
        (np.concatenate(values).astype(np.float32), pairs), shape=(len(distance), n_items)
    )


class SessionEase:
    """EASE over nearness in time. O(items³) for at most ``max_items``, those most used; what is
    beyond scores 0."""

    name = "session_ease"

    def __init__(
        self,
        times: sparse.csr_array,
        kernel: Nearness,
        *,
        ridge: float = 200.0,
        max_items: int = 3_000,
    ) -> None:
        self._times, self._kernel, self._ridge, self._max = times, kernel, ridge, max_items

    def fit(self, dataset: Dataset, *, progress: Progress | None = None) -> Self:
        known = dataset.matrix.values
        counts = np.bincount(known.indices, minlength=known.shape[1])
        kept = np.sort(np.argsort(-counts, kind="stable")[: self._max])
        near = nearness(Histories.of(known, self._times), self._kernel, known.shape[1])
        gram = near[kept][:, kept].toarray().astype(np.float64)
        np.fill_diagonal(gram, counts[kept] + self._ridge)
        inverse = np.linalg.inv(gram)
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0)
        self._kept, self._weights = kept, weights.astype(np.float32)
        self._pattern = sparse.csr_array(
            (np.ones(known.nnz, np.float32), known.indices, known.indptr), shape=known.shape
        )
        return self

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        scores = np.zeros((len(users), self._pattern.shape[1]), np.float32)
        scores[:, self._kept] = np.asarray(self._pattern[users][:, self._kept] @ self._weights)
        return scores
