"""The feed: sources → rules → scores → ranker → diversity → exploration.

One object ranks for everybody: the feed over HTTP, lists made ready, the training set of the
ranker, the offline evaluation. Every stage is a vectorised pass over the candidates, about a
thousand of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices, Viewer
from models.data.arrays import top_places
from models.feed.candidates import sources
from models.feed.candidates.rules import Mask, allowed
from models.feed.candidates.shortlists import Shortlists
from models.feed.candidates.sources import (
    BITS,
    RANKED,
    SEEN,
    Candidates,
    Indexes,
    SourceGuard,
)
from models.feed.context import Context
from models.feed.ordering.diversity import diversified, in_spreads, likeness_of, limit_runs, varied
from models.feed.ordering.exploration import explore
from models.feed.ranking import Ranker, Ranking
from models.feed.scoring.scores import By, scores_of, shown_scores
from models.feed.scoring.time_order import time_key
from models.feed.stage_timer import StageTimer
from models.profile.schema import Profile

Stage = Literal["candidates", "rules", "scores", "ranker", "diversity", "exploration"]
STAGES: tuple[Stage, ...] = get_args(Stage)
VARIED, VARIED_AMONG = 10, 20
"""The first items are made less like each other, by trades with those behind, up to here."""
FEW = 200
"""Where the rules leave fewer of the candidates, all that they allow are looked through."""
LEAST_NEW = 20
"""A feed of fewer items that the user has not seen goes on with those that they have, unless the
request forbids it."""
LOOKED_AT = 100
"""Places that are kept free of long runs: the largest page."""
PATIENCE_MS = 10_000.0
"""Where nobody waits, no source is left out for being slow."""


@dataclass(frozen=True)
class Query:
    """What is asked of the pipeline.

    Attributes:
        now: epoch seconds.
        by: ``model`` ranks by the recommender's vectors, the first items by the ranker
            where it has one; ``heuristic`` by the hybrid of the scorers; ``time`` by time alone.
            None: by the model if it knows the viewer, else by the heuristic.
        exclude_seen, exclude_applied: as the request asks; None: as the profile has it.
        context: None: that of ``now``, on an unknown device.
        rng: for exploration; None: nothing is explored.
        only: rank these rows, distinct and within the rules, whatever the sources name.
    """

    now: float
    by: By | None = None
    exclude_seen: bool | None = None
    exclude_applied: bool | None = None
    context: Context | None = None
    rng: np.random.Generator | None = None
    only: Indices | None = None


@dataclass(frozen=True)
class FeedPipeline:
    """Ranks for any viewer of one catalogue.

    Attributes:
        shortlists: what is best for anybody; made anew each minute where the catalogue lives on.
        guard: runs the sources, and leaves those alone that misbehave.
        ranker: puts the recommender's first items in order; None: its own order is the feed's.
    """

    live: LiveCatalogue
    profile: Profile
    shortlists: Shortlists
    indexes: Indexes
    guard: SourceGuard = field(default_factory=SourceGuard)
    ranker: Ranker | None = None

    @classmethod
    def offline(
        cls, live: LiveCatalogue, profile: Profile, *, now: float, ranker: Ranker | None = None
    ) -> FeedPipeline:
        """The same pipeline where nobody waits: no source is dropped for being slow, and what is
        drawn at random is drawn the same each time. O(n log n) in the items.

        Args:
            now: epoch seconds.
        """
        shortlists = Shortlists.of(live, profile, now, np.random.default_rng(0))
        indexes = Indexes.of(live, profile, now=now)
        return cls(live, profile, shortlists, indexes, ranker=ranker).patient()

    def patient(self) -> FeedPipeline:
        """The same, but no source is dropped for being slow."""
        budgets = self.profile.candidates.model_copy(update={"time_budget_ms": PATIENCE_MS})
        profile = self.profile.model_copy(update={"candidates": budgets})
        return replace(self, profile=profile, guard=SourceGuard())

    def ranked_by(self, viewer: Viewer) -> By:
        """What ranks for a viewer if nothing else is asked for."""
        snapshot = self.live.snapshot
        heuristic = not snapshot.has_model or snapshot.manifest.recommender == "heuristic"
        return "heuristic" if heuristic or viewer.vector is None else "model"

    def candidates(self, viewer: Viewer) -> Candidates:
        """What the sources name for a viewer, before the rules."""
        return sources.candidates(
            self.live, viewer, self.profile, self.shortlists, self.indexes, self.guard
        )

    def allowed(self, viewer: Viewer, rows: Indices, query: Query) -> Mask:
        """Which of the rows no rule excludes, shape (n,)."""
        return allowed(
            self.live,
            viewer,
            self.profile,
            rows,
            now=query.now,
            exclude_seen=query.exclude_seen,
            exclude_applied=query.exclude_applied,
        )

    def rank(
        self,
        viewer: Viewer,
        query: Query,
        *,
        upto: Stage = "exploration",
        timer: StageTimer | None = None,
    ) -> Ranking:
        """The viewer's list after a stage: at most the profile's ``serving.list_length`` items.

        Raises:
            ValueError: ``by="model"`` for a viewer that the model does not know.
            FloatingPointError: the model's or the ranker's scores are not finite.
        """
        last, ranking = STAGES.index(upto), None
        for stage, after_stage in self.stages(viewer, query):
            if STAGES.index(stage) > last:
                break
            ranking = after_stage
            if timer is not None:
                timer.ended(stage)
        assert ranking is not None, "there are always candidates, if none of them"
        return replace(ranking, scores=np.clip(ranking.scores, 0, 1))

    def stages(self, viewer: Viewer, query: Query) -> Iterator[tuple[Stage, Ranking]]:
        """The list as each stage leaves it. Scores may stand above 1 for what is fresh, and are 0
        before there are any; a stage that has nothing to do for the viewer is left out."""
        by = query.by or self.ranked_by(viewer)
        ranking = self._candidates(viewer, query, by)
        yield "candidates", ranking
        if query.only is None:
            ranking = self._permitted(viewer, query, by, ranking)
            yield "rules", ranking
        ranking = self._scored(viewer, query, by, ranking)
        yield "scores", ranking
        if by == "model" and self.ranker is not None and self.profile.ranker.kinds:
            ranking = self._reranked(viewer, query, ranking)
            yield "ranker", ranking
        if by != "time":
            ranking = self._diversified(ranking)
            yield "diversity", ranking
            ranking = self._without_long_runs(self._explored(query, ranking))
        if query.only is None:
            ranking = self._filled_up(viewer, query, by, ranking)
        yield "exploration", ranking

    def _candidates(self, viewer: Viewer, query: Query, by: By) -> Ranking:
        if query.only is not None:
            # As if the model had named them: what the ranker sees first in a feed, it has.
            rows, bits = query.only, np.full(len(query.only), BITS["model"], np.uint16)
        elif by == "time":
            rows = np.union1d(self.shortlists.by_time, self.live.latest_items()).astype(np.int32)
            bits = np.zeros(len(rows), np.uint16)
        else:
            candidates = self.candidates(viewer)
            rows, bits = candidates.rows, candidates.sources
        return Ranking.certain(rows, np.zeros(len(rows), np.float32), bits)

    def _permitted(self, viewer: Viewer, query: Query, by: By, ranking: Ranking) -> Ranking:
        """What the rules allow; where that is little, the best of all that they allow too."""
        shown = self.shortlists.shown
        kept = ranking.take(np.flatnonzero(self.allowed(viewer, ranking.rows, query)))
        if len(kept.rows) >= FEW or len(ranking.rows) >= len(shown):
            return kept
        more = shown[self.allowed(viewer, shown, query)]
        key: NDArray[np.floating] = self.live.items.engagement[more]
        if by == "time":
            key = time_key(self.live, self.profile, more)
        more = more[top_places(key, FEW)]
        more = more[~np.isin(more, kept.rows)]
        nothing = np.zeros(len(more), np.float32)
        return kept.followed_by(Ranking.certain(more, nothing, nothing.astype(np.uint16)))

    def _scored(self, viewer: Viewer, query: Query, by: By, pool: Ranking) -> Ranking:
        """The best first; behind them, what may be explored, wherever it stands."""
        scores = scores_of(self.live, viewer, self.profile, pool.rows, by, query.now)
        order = np.argsort(-scores, kind="stable")
        if query.only is None:
            length = self.profile.serving.list_length
            order, rest = order[:length], order[length:]
            if query.rng is not None and by != "time":
                new = rest[pool.sources[rest] & BITS["explore"] > 0]
                order = np.concatenate([order, new])
        shown = shown_scores(self.live, viewer, self.profile, scores[order], by, query.now)
        return replace(pool.take(order), scores=shown)

    def _reranked(self, viewer: Viewer, query: Query, ranking: Ranking) -> Ranking:
        """The first ``profile.ranker.rerank`` items in the ranker's order.

        Their scores are what the ranker shows; those of the others are the recommender's, scaled
        to lie below. ``RANKED`` tells them apart.
        """
        ranker, settings = self.ranker, self.profile.ranker
        if ranker is None or not len(ranking.rows):
            return ranking
        first = ranking.take(slice(settings.rerank))
        rest = ranking.take(slice(settings.rerank, None))
        ordered = ranker.order(
            self.live,
            viewer,
            self.profile,
            first.rows,
            first.sources,
            now=query.now,
            context=query.context or Context.at(query.now),
        )
        if not np.isfinite(ordered.scores).all():
            raise FloatingPointError("the ranker's scores are not finite")
        order = np.argsort(-ordered.scores, kind="stable")
        first = replace(
            first.take(order),
            scores=ordered.shown[order],
            sources=first.sources[order] | np.uint16(RANKED),
            chances=ordered.chances[order],
        )
        return first.followed_by(_below(first.scores[-1], rest))

    def _diversified(self, ranking: Ranking) -> Ranking:
        """Owners and categories in turn, and the first items less like each other."""
        items, limits, rows = self.live.items, self.profile.diversity, ranking.rows
        groups = [
            (items.owner[rows], limits.owner_penalty),
            (items.category[rows], limits.category_penalty),
        ]
        spreads = in_spreads(ranking.scores)
        order = diversified(spreads, groups)
        if limits.strength > 0:
            top = order[:VARIED_AMONG]
            likeness = likeness_of(items.tags[rows[top]])
            order[:VARIED_AMONG] = top[varied(likeness, spreads[top], limits.strength, VARIED)]
        return ranking.take(order)

    def _explored(self, query: Query, ranking: Ranking) -> Ranking:
        """New items among the others, as the profile asks. They have passed the rules already."""
        length = None if query.only is not None else self.profile.serving.list_length
        new, rules = self.shortlists.explored, self.profile.exploration
        if query.rng is None or rules.share == 0 or not len(new) or not len(ranking.rows):
            return ranking.take(slice(length))
        ascending = np.argsort(ranking.rows)
        indices = np.searchsorted(ranking.rows, new, sorter=ascending)
        indices = ascending[np.minimum(indices, len(ascending) - 1)]
        there = ranking.rows[indices] == new
        if not there.any():
            return ranking.take(slice(length))
        chosen = explore(
            np.arange(len(ranking.rows)),
            indices[there],
            self.shortlists.probabilities[there],
            share=rules.share,
            first_position=rules.first_position,
            rng=query.rng,
        )
        explored = Ranking(
            ranking.rows[chosen.order],
            ranking.scores[chosen.order],
            ranking.sources[chosen.order],
            chosen.propensities,
            chosen.explored,
            ranking.chances[chosen.order],
        )
        return explored.take(slice(length))

    def _without_long_runs(self, ranking: Ranking) -> Ranking:
        """An item that would make a run too long trades places, and keeps its propensity: of such
        lists, it is that of the place the item had before. What exploration put there stays: moved
        up, it would take more than its share."""
        limits = self.profile.diversity
        runs = [
            (column[ranking.rows[:LOOKED_AT]], limit)
            for column, limit in (
                (self.live.items.owner, limits.max_run_owner),
                (self.live.items.category, limits.max_run_category),
            )
            if limit is not None
        ]
        if not runs:
            return ranking
        order = np.arange(len(ranking.rows))
        order[:LOOKED_AT] = limit_runs(order[:LOOKED_AT], runs, ranking.explored[:LOOKED_AT])
        return ranking.take(order)

    def _filled_up(self, viewer: Viewer, query: Query, by: By, ranking: Ranking) -> Ranking:
        """A short list goes on with what the user has seen, best first."""
        if (
            len(ranking.rows) >= LEAST_NEW
            or not self.profile.eligibility.exclude_seen
            or query.exclude_seen is not None
            or not len(viewer.seen)
        ):
            return ranking
        with_seen = replace(query, exclude_seen=False)
        rows = viewer.seen[self.allowed(viewer, viewer.seen, with_seen)]
        scores = scores_of(self.live, viewer, self.profile, rows, by, query.now)
        left = min(FEW, self.profile.serving.list_length) - len(ranking.rows)
        best = np.argsort(-scores, kind="stable")[:left]
        shown = shown_scores(self.live, viewer, self.profile, scores[best], by, query.now)
        seen = Ranking.certain(rows[best], shown, np.full(len(best), SEEN, np.uint16))
        return ranking.followed_by(_below(ranking.scores[-1], seen) if len(ranking.rows) else seen)


def _below(score: float, ranking: Ranking) -> Ranking:
    """The list with its scores scaled to lie below one."""
    if not len(ranking.rows):
        return ranking
    scaled = ranking.scores * (score / max(float(ranking.scores[0]), 1e-9))
    return replace(ranking, scores=scaled.astype(np.float32, copy=False))
