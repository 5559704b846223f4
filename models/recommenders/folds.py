"""Folds: a dataset without some of what its users like, which a learner is then judged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.data.arrays import entries_at
from models.data.interactions.popularity import Popularity
from models.recommenders.base import Dataset

LEAST_LIKED = 3
"""Of who likes fewer items none is held back."""


@dataclass(frozen=True)
class Fold:
    """
    Attributes:
        train: what may be learnt from.
        users: rows, shape (n,): of whom something was held back.
        wanted: bool CSR, shape (n, items): what they like besides. Nothing of it is in ``train``.
    """

    train: Dataset
    users: NDArray[np.intp]
    wanted: sparse.csr_array

    def sampled(self, max_users: int, seed: int) -> Self:
        """Asked of at most so many users. What was held back of the others stays unknown, as
        nobody's next items are known where a feed is asked for."""
        if len(self.users) <= max_users:
            return self
        rng = np.random.default_rng(seed)
        kept = np.sort(rng.choice(len(self.users), max_users, replace=False))
        return replace(self, users=self.users[kept], wanted=sparse.csr_array(self.wanted[kept]))


def hold_back(
    dataset: Dataset,
    share: float,
    *,
    newest: bool,
    seed: int,
    among: NDArray[np.integer] | None = None,
) -> Fold:
    """Some of what users like is held back, at least one item of each. O(n log n) in the liked
    pairs.

    Args:
        share: of each user's items.
        newest: the newest items, where an order is known; else drawn at random.
        among: users of whom something may be held back, rows; None: all.

    Raises:
        ValueError: no user likes enough items.
    """
    liked, rng = dataset.matrix.liked, np.random.default_rng(seed)
    counts = np.diff(liked.indptr)
    users = np.flatnonzero(counts >= LEAST_LIKED)
    if among is not None:
        users = np.intersect1d(users, among)
    if not len(users):
        raise ValueError(f"no user likes {LEAST_LIKED} items: nothing can be held back")
    rows = sparse.csr_array(liked[users])
    at = np.repeat(np.arange(len(users)), np.diff(rows.indptr))
    times = (
        np.zeros(rows.nnz)
        if dataset.times is None or not newest
        else entries_at(dataset.times, users[at], rows.indices)
    )
    order = np.lexsort((rng.random(rows.nnz), -times, at))
    rank = np.arange(rows.nnz) - rows.indptr[at]
    held = order[rank < np.maximum((counts[users][at] * share).astype(int), 1)]
    wanted = sparse.csr_array(
        (np.ones(len(held), bool), (at[held], rows.indices[held])), shape=rows.shape
    )
    return Fold(without(dataset, users, wanted), users, wanted)


def without(dataset: Dataset, users: NDArray[np.integer], wanted: sparse.csr_array) -> Dataset:
    """The dataset without these pairs, also in its validation. O(pairs)."""

    def left(matrix: sparse.csr_array) -> sparse.csr_array:
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        return only(matrix, ~among_pairs(rows, matrix.indices, users, wanted))

    train, validation = with_only(dataset, left(dataset.matrix.values)), dataset.validation
    if validation is None:
        return train
    earlier, later = (left(sparse.csr_array(of)) for of in (validation.earlier, validation.later))
    return replace(train, validation=replace(validation, earlier=earlier, later=later))


def among_pairs(
    rows: NDArray[np.integer],
    items: NDArray[np.integer],
    users: NDArray[np.integer],
    wanted: sparse.csr_array,
) -> NDArray[np.bool_]:
    """Which pairs are those of a fold. A row of -1 is in none, an item of -1 must not be asked."""
    n_items = wanted.shape[1]
    of = np.repeat(np.asarray(users, np.int64), np.diff(wanted.indptr))
    return np.isin(np.asarray(rows, np.int64) * n_items + items, of * n_items + wanted.indices)


def with_only(dataset: Dataset, values: sparse.csr_array) -> Dataset:
    """The dataset as if only these pairs, some of its own, had been there; popularity
    loses of each item the share of weight that is gone."""
    before, after = (
        np.bincount(of.indices, np.maximum(of.data, 0), of.shape[1])
        for of in (dataset.matrix.values, values)
    )
    left = np.divide(after, before, out=np.zeros(len(before)), where=before > 0)

    def scaled(shares: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = shares * left
        return kept / kept.mean() if kept.any() else kept

    popularity = dataset.popularity
    return replace(
        dataset,
        matrix=replace(
            dataset.matrix,
            values=values,
            applied=sparse.csr_array(dataset.matrix.applied.multiply(pattern(values))),
        ),
        popularity=Popularity(scaled(popularity.recent), scaled(popularity.overall)),
        validation=None,
    )


def pattern(matrix: sparse.csr_array) -> sparse.csr_array:
    """Where the matrix holds an entry, explicit zeros too: bool CSR."""
    return sparse.csr_array(
        (np.ones(matrix.nnz, bool), matrix.indices, matrix.indptr), shape=matrix.shape
    )


def only(matrix: sparse.csr_array, kept: NDArray[np.bool_]) -> sparse.csr_array:
    """The stored entries of a mask."""
    before = np.concatenate(([0], np.cumsum(kept)))
    return sparse.csr_array(
        (matrix.data[kept], matrix.indices[kept], before[matrix.indptr]), shape=matrix.shape
    )
