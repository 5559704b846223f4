"""The ranker behind a recommender, trained on what the recommender had not seen.

It learns what users did with what a recommender, trained on a fold's known part, puts first
(``models/ranking/training/folds.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property

import polars as pl

from models.catalogue.building import Vectors
from models.data.interactions.splits import split_moment
from models.profile.ranker_settings import Kind, with_ranker
from models.ranking.learned import LearnedRanker
from models.ranking.training.backtest import Backtest, PastCatalogue
from models.ranking.training.fitting import Report, learn
from models.ranking.training.folds import RankerFold
from models.recommenders import zoo
from models.recommenders.base import Dataset, ProgressOf
from models.recommenders.served import ByVectors, vectors_of

ENOUGH = 2
"""Times the profile's ``ranker.min_users``: of fewer on both sides of the moment each user is cut
in their own time."""
Earlier = Callable[[], tuple[Dataset, Vectors | None]]


def training_moment(interactions: pl.LazyFrame, split_at: datetime, share: float) -> datetime:
    """When the ranker's training set begins: its share of what was known at the split came later.

    Raises:
        ValueError: nothing was known at the split.
    """
    return split_moment(interactions.filter(pl.col("occurred_at") < split_at), share)


class SecondStage:
    """Trains rankers of any kind behind one recommender; what they have in common is made once."""

    def __init__(
        self,
        base: ByVectors,
        dataset: Dataset,
        events: pl.DataFrame,
        earlier: Earlier,
        *,
        progress: ProgressOf | None = None,
    ) -> None:
        """
        Args:
            base: fitted on ``dataset``.
            events: what users did, as ``with_metadata`` gives it.
            earlier: what was known at a moment before, and what the recommender made of it, where
                that is there already. What users did between the two is learnt from.
            progress: of what is trained, by its name.
        """
        self._base, self._dataset, self._events = base, dataset, events
        self._earlier, self._progress = earlier, progress

    def ranker(self, kind: Kind) -> tuple[LearnedRanker, Report]:
        """
        Raises:
            TooLittleData: for the ranker.
        """
        backtest, fold = self._backtest
        name = f"{with_ranker(self._base.name, kind)}, users of the training set"
        tell = self._progress and self._progress(name)
        profile = self._dataset.profile
        return learn(backtest, fold.later, self._events, fold.train, profile, kind, progress=tell)

    @cached_property
    def _backtest(self) -> tuple[Backtest, RankerFold]:
        fold, vectors = self._fold()
        if vectors is None:
            name = f"{self._base.name}, for the training set of its ranker"
            made = zoo.make(self._base.name, self._dataset.profile, self._base.plan)
            made.fit(fold.train, progress=self._progress and self._progress(name))
            vectors = vectors_of(made, fold.train)
        return PastCatalogue(fold.train, fold.before).served_by(vectors), fold

    def _fold(self) -> tuple[RankerFold, Vectors | None]:
        settings = self._dataset.profile.ranker
        newest = settings.held_back == "newest"
        if newest and (by_time := self._by_time()):
            return by_time
        max_users, seed = settings.max_users, settings.boosted.seed
        fold = RankerFold.of_users(
            self._dataset, self._events, newest=newest, max_users=max_users, seed=seed
        )
        return fold, None

    def _by_time(self) -> tuple[RankerFold, Vectors | None] | None:
        """None: too few users did something on both sides of the moment."""
        try:
            train, vectors = self._earlier()
        except ValueError:  # all that is known came in one moment
            return None
        fold = RankerFold.by_time(train, self._events)
        enough = fold.users(train.profile) >= ENOUGH * train.profile.ranker.min_users
        return (fold, vectors) if enough else None
