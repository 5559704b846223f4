"""A recommender with the feed's ranker behind it, trained and judged out of time.

earlier    the recommender learns from what was known then
between    the ranker learns what users did with what that recommender puts first
past       the recommender learns from all that was known up to here; both are judged after it
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from models.ranking.replay import told, world_at
from models.ranking.reranked import Reranked
from models.ranking.settings import Kind
from models.ranking.training import train_ranker
from models.recommenders import zoo
from models.recommenders.base import Dataset, Progress
from models.recommenders.served import ByVectors, vectors_of
from models.splits import split_moment


def lesson_moment(interactions: pl.LazyFrame, split_at: datetime, share: float) -> datetime:
    """When the ranker's lesson begins: its share of what was known at the split came later."""
    return split_moment(interactions.filter(pl.col("occurred_at") < split_at), share)


def reranked(
    base: ByVectors,
    kind: Kind,
    past: Dataset,
    earlier: Dataset,
    interactions: pl.LazyFrame,
    *,
    progress: Progress | None = None,
) -> Reranked:
    """The recommender as it would be served with a ranker that learnt before ``past.as_of``.

    Args:
        base: fitted on ``past``.
        interactions: user_id, item_id, type, occurred_at, metadata; later ones are not looked at.
        progress: of the ranker's lesson.

    Raises:
        TooLittleData: for the ranker, between the two moments.
    """
    first = vectors_of(zoo.make(base.name, earlier.profile).fit(earlier), earlier)
    known = interactions.filter(pl.col("occurred_at") < past.as_of)
    ranker, _ = train_ranker(earlier, first, known, earlier.profile, kind, progress=progress)
    return Reranked(base, ranker, world_at(past, base.vectors, told(known)))
