"""The ranker behind a recommender, trained and judged out of time.

earlier    the recommender learns from what was known then
between    the ranker learns what users did with what that recommender puts first
past       the recommender learns from all that was known up to here; both are judged after it
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import polars as pl

from models.data.splits import split_moment
from models.profile.ranker_settings import Kind, with_ranker
from models.ranking.backtest import Backtest, PastCatalogue
from models.ranking.learned import LearnedRanker
from models.ranking.training import learn
from models.recommenders import zoo
from models.recommenders.base import Dataset, Progress, ProgressOf
from models.recommenders.served import ByVectors, vectors_of


def training_moment(interactions: pl.LazyFrame, split_at: datetime, share: float) -> datetime:
    """When the ranker's training set begins: its share of what was known at the split came later.

    Raises:
        ValueError: nothing was known at the split.
    """
    return split_moment(interactions.filter(pl.col("occurred_at") < split_at), share)


class SecondStage:
    """Trains rankers of any kind behind one recommender; what they have in common is made once."""

    def __init__(
        self, base: ByVectors, earlier: Callable[[], Dataset], events: pl.DataFrame
    ) -> None:
        """
        Args:
            base: fitted on all that was known at the split.
            earlier: what was known when the rankers' training set begins; asked once.
            events: what users did before the split, as ``with_metadata`` gives it.
        """
        self._base, self._earlier, self._events = base, earlier, events
        self._made: tuple[Dataset, Backtest] | None = None

    def ranker(self, kind: Kind, *, progress: ProgressOf | None = None) -> LearnedRanker:
        """A ranker that learnt before the split.

        Args:
            progress: of the recommender's training on what came earlier, and of the training set.

        Raises:
            TooLittleData: for the ranker, between the two moments.
        """
        name = with_ranker(self._base.name, kind)
        if self._made is None:
            what = f"{self._base.name}, for the training set of its ranker"
            self._made = self._backtest(progress and progress(what))
        earlier, backtest = self._made
        tell = progress and progress(f"{name}, users of the training set")
        ranker, _ = learn(backtest, self._events, earlier, earlier.profile, kind, progress=tell)
        return ranker

    def _backtest(self, progress: Progress | None) -> tuple[Dataset, Backtest]:
        earlier = self._earlier()
        made = zoo.make(self._base.name, earlier.profile, self._base.plan)
        fitted = made.fit(earlier, progress=progress)
        before = self._events.filter(pl.col("occurred_at") < earlier.as_of)
        return earlier, PastCatalogue(earlier, before).served_by(vectors_of(fitted, earlier))
