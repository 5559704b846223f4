"""A recommender with the feed's ranker behind it, judged like any recommender."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.data.top import top_places
from models.feed.context import Context
from models.feed.sources import SourceGuard, candidates
from models.ranking.learned import LearnedRanker
from models.ranking.replay import World, viewers
from models.ranking.settings import with_ranker
from models.recommenders.base import Scorer


class Reranked:
    """The recommender's scores, where the first new items of each user are in the ranker's order
    and above the rest: what the feed shows, but for the rules and diversity, which are none of
    the model's."""

    def __init__(self, base: Scorer, ranker: LearnedRanker, world: World) -> None:
        """
        Args:
            base: fitted on what was known at the world's moment.
            world: ``replay.world_at`` of that dataset and the vectors that serve ``base``.
        """
        self.name = with_ranker(base.name, ranker.kind)
        self._base, self._ranker, self._world = base, ranker, world

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        """Shape (len(users), items). Some ms a user."""
        world = self._world
        scores = self._base.score(users).astype(np.float32)
        ids = [world.live.users.ids[int(user)] for user in users]
        moments = np.full(len(ids), world.now)
        for of_user, viewer in zip(scores, viewers(world, ids, moments), strict=True):
            new = of_user.copy()
            new[viewer.seen] = -np.inf
            rows = top_places(new, world.profile.ranker.rerank).astype(np.int32)
            rows = rows[np.isfinite(new[rows])]
            if not len(rows):
                continue
            found = candidates(
                world.live, viewer, world.profile, world.shortlists, world.indexes, SourceGuard()
            )
            bits = np.zeros(world.live.items.rows, np.uint16)
            bits[found.rows] = found.sources
            ranked = self._ranker.scores(
                world.live, viewer, world.profile, rows, bits[rows],
                now=world.now, context=Context.at(world.now),
            )  # fmt: skip
            place = np.empty(len(rows), np.float32)
            place[np.argsort(-ranked, kind="stable")] = np.arange(len(rows), 0, -1)
            of_user[rows] = of_user.max() + place
        return scores
