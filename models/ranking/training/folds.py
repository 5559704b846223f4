"""What the feed's ranker learns from: what a recommender was trained on, and what users did then.

By time, as a feed is asked: what came before a moment, and what came after it. Where few users did
something on both sides of any moment (they come once and do all they do in an hour), each is cut in
their own time: the newest items of each are what came after, and nobody's are in the training set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from scipy import sparse

from models.profile.schema import Profile
from models.recommenders.base import Dataset
from models.recommenders.folds import among_pairs, hold_back

SHARE = 0.2
"""Of each user's liked items that are held back."""


@dataclass(frozen=True)
class RankerFold:
    """
    Attributes:
        train: what the recommender learns from.
        before: the events it is made of, as ``with_metadata`` gives them.
        later: what the ranker is to foresee.
    """

    train: Dataset
    before: pl.DataFrame
    later: pl.DataFrame

    @classmethod
    def by_time(cls, train: Dataset, events: pl.DataFrame) -> Self:
        """Cut at ``train.as_of``.

        Args:
            events: of before and after, as ``with_metadata`` gives them.
        """
        at = pl.col("occurred_at")
        return cls(train, events.filter(at < train.as_of), events.filter(at >= train.as_of))

    @classmethod
    def of_users(
        cls, dataset: Dataset, events: pl.DataFrame, *, newest: bool, max_users: int, seed: int
    ) -> Self:
        """Each user's newest liked items are held back; what came later are those of at most
        ``max_users`` of them.

        Args:
            events: what the dataset was made of, as ``with_metadata`` gives it.
            newest: False, or where there is no order: items drawn at random instead.

        Raises:
            ValueError: no user likes enough items.
        """
        fold = hold_back(dataset, SHARE, newest=newest, seed=seed)
        asked = fold.sampled(max_users, seed)
        held, later = (pairs_among(events, dataset, of.users, of.wanted) for of in (fold, asked))
        return cls(fold.train, events.filter(~held), events.filter(later))

    def users(self, profile: Profile) -> int:
        """How many liked something both before and later."""
        liking = [name for name, weight in profile.interaction_weights.items() if weight > 0]
        came = self.later.filter(pl.col("type").is_in(liking))["user_id"].unique()
        rows = self.train.users.indices(came)
        liked = np.diff(self.train.matrix.liked.indptr)
        return int((liked[rows[rows >= 0]] > 0).sum())


def pairs_among(
    events: pl.DataFrame, dataset: Dataset, users: np.ndarray, wanted: sparse.csr_array
) -> pl.Series:
    """Which events are of a pair of a fold, bool. O(events)."""
    row, item = dataset.users.indices(events["user_id"]), dataset.items.indices(events["item_id"])
    return pl.Series((item >= 0) & among_pairs(row, item, users, wanted))
