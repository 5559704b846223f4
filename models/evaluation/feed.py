"""Feeds that are judged: ranked by the pipeline that serves, and looked at after each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.evaluation.held_back import HeldBack
from models.evaluation.metrics import evaluation
from models.feed.judged_stages import JUDGED, JudgedStage, judged_stages
from models.feed.pipeline import Query
from models.ranking.learned import LearnedRanker
from models.ranking.training.backtest import Backtest, PastCatalogue, with_metadata
from models.recommenders import judging
from models.recommenders.base import Dataset, Scorer
from models.recommenders.served import ByVectors

MOST_LOSS = 0.02
"""A stage that loses a greater share of nDCG is named in the run."""


def feed_lists(
    backtest: Backtest, users: Sequence[str], k: int
) -> dict[JudgedStage, NDArray[np.int64]]:
    """The first k items that each user has not seen, after each stage, exploration off.

    A few milliseconds a user; see ``judged_stages``.

    Args:
        users: ids.

    Returns:
        By stage: rows of items, shape (len(users), k), -1 where there are fewer.
    """
    pipeline = backtest.pipeline
    lists: dict[JudgedStage, NDArray[np.int64]] = {
        stage: np.full((len(users), k), -1, np.int64) for stage in JUDGED.values()
    }
    query = Query(backtest.now, exclude_seen=True)
    for index, viewer in enumerate(backtest.viewers(users, np.full(len(users), backtest.now))):
        viewer = viewer if viewer.preferences.personalized else viewer.impersonal()
        for stage, ranking in judged_stages(pipeline, viewer, query).items():
            first = ranking.rows[:k]
            lists[stage][index, : len(first)] = first
    return lists


@dataclass(frozen=True)
class FeedJudge:
    """Judges feeds by one test: what users liked after the moment up to which all was known.

    Attributes:
        choosing: another test, by which the winner is chosen; None: by this one.
    """

    past: PastCatalogue
    test: judging.TestSet
    background: evaluation.Background
    choosing: judging.TestSet | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        test: judging.TestSet,
        interactions: pl.LazyFrame,
        choosing: judging.TestSet | None = None,
        held: HeldBack | None = None,
    ) -> Self:
        """
        Args:
            dataset: what was known; ``test`` came later.
            interactions: user_id, item_id, type, occurred_at, metadata; those after
                ``dataset.as_of`` are not looked at.
            held: pairs that are not known.
        """
        events = with_metadata(interactions.filter(pl.col("occurred_at") < dataset.as_of))
        if held is not None:
            events = held.train_events(events, dataset)
        background = evaluation.Background.of(dataset, test, k=dataset.profile.evaluation.k)
        return cls(PastCatalogue(dataset, events), test, background, choosing)

    def lists(
        self, scorer: Scorer, ranker: LearnedRanker | None = None
    ) -> dict[JudgedStage, NDArray[np.int64]]:
        """``feed_lists`` of the test's users, with a ranker behind the recommender or without."""
        return self._lists(self.test.users, scorer, ranker)

    def served(self, scorer: Scorer, ranker: LearnedRanker | None = None) -> Backtest:
        """The feed as it would have been."""
        backtest = self.past.served_by(scorer.vectors if isinstance(scorer, ByVectors) else None)
        return backtest if ranker is None else backtest.with_ranker(ranker)

    def ids(self, rows: NDArray[np.integer]) -> list[str]:
        """Of users."""
        ids = self.past.dataset.users
        return [ids[int(row)] for row in rows]

    def _lists(
        self, rows: NDArray[np.integer], scorer: Scorer, ranker: LearnedRanker | None
    ) -> dict[JudgedStage, NDArray[np.int64]]:
        k = self.past.dataset.profile.evaluation.k
        return feed_lists(self.served(scorer, ranker), self.ids(rows), k)

    def evaluate(
        self, name: str, scorer: Scorer, ranker: LearnedRanker | None = None
    ) -> evaluation.Evaluation:
        """The feed that users would have got, and nDCG after each of its stages."""
        dataset, k = self.past.dataset, self.past.dataset.profile.evaluation.k
        rows = self.test.users
        if self.choosing is not None:
            rows = np.union1d(rows, self.choosing.users)
        of_all = self._lists(rows, scorer, ranker)

        def of(test: judging.TestSet) -> dict[JudgedStage, NDArray[np.int64]]:
            indices = np.searchsorted(rows, test.users)
            return {stage: top[indices] for stage, top in of_all.items()}

        lists = of(self.test)
        alone = judging.recommend(scorer, self.test.users, self.test.seen, k)
        evaluated = evaluation.evaluate_lists(
            name, lists["diversity"], dataset, self.test, k=k, background=self.background
        )
        ndcg = {"recommender": judging.ndcg_of(alone, self.test)}
        for stage, top in lists.items():
            ndcg[stage] = judging.ndcg_of(top, self.test)
        evaluated = evaluated.with_stages(ndcg, k)
        if self.choosing is None:
            return evaluated
        chosen_by = judging.ndcg_of(of(self.choosing)["diversity"], self.choosing)
        metrics = evaluated.metrics | {f"ndcg@{k}.choosing": float(chosen_by.mean())}
        return replace(evaluated, metrics=metrics, chosen_by=chosen_by)


@dataclass(frozen=True)
class Loss:
    """A stage after which nDCG is lower.

    Attributes:
        before, after: means over the users.
    """

    stage: str
    before: float
    after: float

    def __str__(self) -> str:
        share = 1 - self.after / self.before
        return f"{self.stage} takes {share:.1%} of nDCG: {self.before:.4f} to {self.after:.4f}"


def losses(ndcg: Mapping[str, float]) -> list[Loss]:
    """The stages that lose more than ``MOST_LOSS``.

    Args:
        ndcg: mean by stage, in the order of the stages.
    """
    values = list(ndcg.items())
    return [
        Loss(stage, before, after)
        for (_, before), (stage, after) in pairwise(values)
        if after < before * (1 - MOST_LOSS)
    ]
