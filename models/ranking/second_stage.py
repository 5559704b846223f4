"""A recommender with the feed's ranker behind it, trained and judged out of time.

earlier    the recommender learns from what was known then
between    the ranker learns what users did with what that recommender puts first
past       the recommender learns from all that was known up to here; both are judged after it
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property

import polars as pl

from models.data.splits import split_moment
from models.ranking.replay import World, told, world_at
from models.ranking.reranked import Reranked
from models.ranking.settings import Kind, with_ranker
from models.ranking.training import learn
from models.recommenders import zoo
from models.recommenders.base import Dataset, Progress, ProgressOf
from models.recommenders.served import ByVectors, vectors_of


def lesson_moment(interactions: pl.LazyFrame, split_at: datetime, share: float) -> datetime:
    """When the ranker's lesson begins: its share of what was known at the split came later.

    Raises:
        ValueError: nothing was known at the split.
    """
    return split_moment(interactions.filter(pl.col("occurred_at") < split_at), share)


class SecondStage:
    """Trains rankers of any kind behind one recommender; what they have in common is made once."""

    def __init__(
        self,
        base: ByVectors,
        past: Dataset,
        earlier: Callable[[], Dataset],
        interactions: pl.LazyFrame,
    ) -> None:
        """
        Args:
            base: fitted on ``past``.
            earlier: what was known when the rankers' lesson begins; asked once.
            interactions: user_id, item_id, type, occurred_at, metadata; those after
                ``past.as_of`` are not looked at.
        """
        self._base, self._past, self._earlier = base, past, earlier
        self._interactions = interactions
        self._lesson: tuple[Dataset, World] | None = None

    def reranked(self, kind: Kind, *, progress: ProgressOf | None = None) -> Reranked:
        """The recommender as it would be served with a ranker that learnt before the split.

        Args:
            progress: of the recommender's training on what came earlier, and of the lesson.

        Raises:
            TooLittleData: for the ranker, between the two moments.
        """
        name = with_ranker(self._base.name, kind)
        if self._lesson is None:
            what = f"{self._base.name}, for the lesson of its ranker"
            self._lesson = self._earlier_world(progress and progress(what))
        earlier, world = self._lesson
        tell = progress and progress(f"{name}, users of the lesson")
        ranker, _ = learn(world, self._rows, earlier, earlier.profile, kind, progress=tell)
        return Reranked(self._base, ranker, self._world)

    def _earlier_world(self, progress: Progress | None) -> tuple[Dataset, World]:
        earlier = self._earlier()
        fitted = zoo.make(self._base.name, earlier.profile).fit(earlier, progress=progress)
        before = self._rows.filter(pl.col("occurred_at") < earlier.as_of)
        return earlier, world_at(earlier, vectors_of(fitted, earlier), before)

    @cached_property
    def _rows(self) -> pl.DataFrame:
        return told(self._interactions.filter(pl.col("occurred_at") < self._past.as_of))

    @cached_property
    def _world(self) -> World:
        """That the rankers are judged in."""
        return world_at(self._past, self._base.vectors, self._rows)
