"""What the feed's ranker learns from: what was known, and what users did then.

By time, as a feed is asked: what is known at a moment, and what came after it. Where few users did
something on both sides of any moment (they come once and do all they do in an hour), each is cut in
their own time: the newest items of each are what came after, and what others did meanwhile is
known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from scipy import sparse

from models.profile.schema import Profile
from models.recommenders.base import Dataset
from models.recommenders.folds import hold_back

SHARE = 0.2
"""Of each user's liked items that are held back."""


@dataclass(frozen=True)
class RankerFold:
    """
    Attributes:
        known: what the recommender learns from.
        before: the events that are known, as ``with_metadata`` gives them.
        later: what the ranker is to foresee.
    """

    known: Dataset
    before: pl.DataFrame
    later: pl.DataFrame

    @classmethod
    def by_time(cls, known: Dataset, events: pl.DataFrame) -> Self:
        """Cut at ``known.as_of``.

        Args:
            events: of before and after, as ``with_metadata`` gives them.
        """
        at = pl.col("occurred_at")
        return cls(known, events.filter(at < known.as_of), events.filter(at >= known.as_of))

    @classmethod
    def of_users(
        cls, dataset: Dataset, events: pl.DataFrame, *, newest: bool, max_users: int, seed: int
    ) -> Self:
        """Each user's newest liked items are what came later.

        Args:
            events: what the dataset was made of, as ``with_metadata`` gives it.
            newest: False, or where no order is known: items drawn at random instead.

        Raises:
            ValueError: no user likes enough items.
        """
        fold = hold_back(dataset, SHARE, newest=newest, max_users=max_users, seed=seed)
        held = pairs_among(events, dataset, fold.users, fold.wanted)
        return cls(fold.known, events.filter(~held), events.filter(held))

    def users(self, profile: Profile) -> int:
        """How many were known, and liked something later."""
        liking = [name for name, weight in profile.interaction_weights.items() if weight > 0]
        came = self.later.filter(pl.col("type").is_in(liking))["user_id"].unique()
        rows = self.known.users.indices(came)
        liked = np.diff(self.known.matrix.liked.indptr)
        return int((liked[rows[rows >= 0]] > 0).sum())


def pairs_among(
    events: pl.DataFrame, dataset: Dataset, users: np.ndarray, wanted: sparse.csr_array
) -> pl.Series:
    """Which events are of a pair of a fold, bool. O(events)."""
    row, item = dataset.users.indices(events["user_id"]), dataset.items.indices(events["item_id"])
    n = len(dataset.items)
    of = np.repeat(users.astype(np.int64), np.diff(wanted.indptr))
    pairs = row.astype(np.int64) * n + item
    return pl.Series((row >= 0) & (item >= 0) & np.isin(pairs, of * n + wanted.indices))
