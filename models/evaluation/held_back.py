"""What a winner is chosen by, besides what came after the split: users' newest items.

After a split by time many users are new, and most that were there before do not come back. So of
some who did nothing after it the newest items are held back, from all that is learnt: what each
would have been shown at their last visits.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from models.data.interactions.matrices import InteractionMatrix
from models.ranking.training.folds import pairs_among
from models.recommenders.base import Dataset, signal
from models.recommenders.folds import LEAST_LIKED, hold_back, without
from models.recommenders.judging import TestSet

SHARE = 0.2
"""Of each one's liked items."""


class HeldBack(NamedTuple):
    """
    Attributes:
        users: rows, shape (n,).
        wanted: bool CSR, shape (n, items).
    """

    users: NDArray[np.intp]
    wanted: sparse.csr_array

    @classmethod
    def of(cls, dataset: Dataset, future: InteractionMatrix, max_users: int) -> Self | None:
        """Of at most ``max_users`` who are not in ``future``; None: nobody likes enough items."""
        gone = np.flatnonzero(np.diff(future.values.indptr) == 0)
        likes = np.diff(dataset.matrix.liked.indptr)
        if not max_users or not (likes[gone] >= LEAST_LIKED).any():
            return None
        gone = gone[likes[gone] >= LEAST_LIKED]
        if len(gone) > max_users:
            gone = np.sort(np.random.default_rng(0).choice(gone, max_users, replace=False))
        fold = hold_back(dataset, SHARE, newest=True, seed=0, among=gone)
        return cls(fold.users, fold.wanted)

    def train(self, dataset: Dataset) -> Dataset:
        """What may be learnt from."""
        return without(dataset, self.users, self.wanted)

    def train_events(self, events: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
        """Those of pairs that are not held back."""
        return events.filter(~pairs_among(events, dataset, self.users, self.wanted))

    def test_set(self, train: Dataset, heavy_user: int) -> TestSet:
        """
        Args:
            train: as ``train`` gives it.
        """
        values = train.matrix.values
        heavy = np.diff(values.indptr)[self.users] >= heavy_user
        return TestSet(
            self.users,
            self.wanted.astype(np.float32),
            signal(sparse.csr_array(values[self.users]), weighted=False),
            np.where(heavy, "heavy", "warm"),
        )


def together(one: TestSet, other: TestSet) -> TestSet:
    """Both, of different users, by row."""
    users = np.concatenate([one.users, other.users])
    order = np.argsort(users)

    def stacked(*parts: sparse.csr_array) -> sparse.csr_array:
        return sparse.csr_array(sparse.vstack(parts, format="csr")[order])

    return TestSet(
        users[order],
        stacked(one.relevant, other.relevant),
        stacked(one.seen, other.seen),
        np.concatenate([one.segments, other.segments])[order],
    )
