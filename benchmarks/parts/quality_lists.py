"""Lists of every recommender and of the feed on one cut of a data set.

A bare recommender scores all items but the user's own, and its best are the list: what a call of
its library gives. The feed is what users get: the blend as it is served, the ranker behind it,
rules and diversity; exploration is off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.common.report import log as logger
from benchmarks.parts.quality_data import Cut, Protocol
from models.catalogue.building import Vectors
from models.evaluation.feed import feed_lists
from models.profile.recommender_settings import SETTINGS
from models.ranking.training.backtest import Backtest, PastCatalogue, with_metadata
from models.ranking.training.fitting import TooLittleData
from models.ranking.training.second_stage import SecondStage
from models.recommenders.base import Dataset, Recommender
from models.recommenders.folds import Fold, hold_back
from models.recommenders.judging import TestSet, hits_of, ndcg_of, recommend
from models.recommenders.served import ByVectors, as_served
from models.recommenders.zoo import ZOO, make

BARE = tuple(name for name in ZOO if name not in ("blend", "heuristic"))
STAGES = ("blend", "ranker", "feed")
"""The blend alone, what the feed's ranker makes of its first items, and the feed."""
LARGE = 20_000
"""Items of a catalogue in which ``SLOW`` are left out, and EASE solves not all items."""
SLOW = ("lightfm_hybrid", "lightfm", "bpr", "nmf")
EASE_ITEMS = 12_500
CHOSEN_BY, SHARE = 2_000, 0.2
"""Users by whom settings are chosen, and the share of their likes that is held back for it."""
FEED_USERS = 5_000
"""Of more, so many are drawn and get a feed: each takes 5 to 10 ms."""
GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "ease": (
        *({"ridge": ridge} for ridge in (100.0, 250.0, 500.0, 1_000.0, 2_000.0)),
        {"ridge": 1_500.0, "weighted": True},
    ),
    "als": (
        *({"dims": dims, "ridge": ridge} for dims in (16, 32, 64) for ridge in (10.0, 30.0)),
        {"dims": 64, "ridge": 10.0, "confidence": 20.0},
    ),
    "item_knn": (
        *({"weighting": weighting} for weighting in ("cosine", "tfidf", "bm25")),
        {"weighting": "cosine", "neighbours": 50},
        {"weighting": "bm25", "neighbours": 344, "weighted": True},
    ),
    "user_knn": (
        *(
            {"weighting": weighting, "neighbours": neighbours}
            for weighting in ("cosine", "tfidf")
            for neighbours in (50, 100, 300)
        ),
        {"weighting": "tfidf", "neighbours": 108, "weighted": True},
    ),
    "pure_svd": tuple({"dims": dims} for dims in (32, 128, 512)),
    "nmf": ({}, {"dims": 34, "ridge": 20.0, "iterations": 70}),
    "transitions": (
        *({"fade": fade} for fade in (1.0, 2.0, 6.0, None)),
        *({"scale": 20.0, "reach": 60, "fade": fade} for fade in (2.0, 6.0)),
    ),
}
"""Settings of which the best is taken; the others have their defaults."""


@dataclass(frozen=True)
class Judged:
    """One row's lists, held against what the test set's users liked.

    Attributes:
        users: places among all who are judged, shape (n,): of whom there are lists.
        ndcg, recall: of each of them, float64, shape (n,). Recall is of all relevant items.
        seconds: to train.
    """

    users: NDArray[np.intp]
    ndcg: NDArray[np.float64]
    recall: NDArray[np.float64]
    seconds: float

    @classmethod
    def of(
        cls, top: NDArray[np.int64], test: TestSet, users: NDArray[np.intp], seconds: float
    ) -> Self:
        """
        Args:
            top: items, best first, shape (n, k), -1: none.
        """
        part = only(test, users)
        hits = hits_of(top, part.relevant).sum(axis=1)
        return cls(users, ndcg_of(top, part), hits / np.diff(part.relevant.indptr), seconds)

    @classmethod
    def together(cls, parts: Sequence[Judged], sizes: Sequence[int]) -> Self:
        """Of several cuts, each of so many judged users."""
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        return cls(
            np.concatenate([part.users + start for part, start in zip(parts, starts, strict=True)]),
            np.concatenate([part.ndcg for part in parts]),
            np.concatenate([part.recall for part in parts]),
            sum(part.seconds for part in parts),
        )


def only(test: TestSet, places: NDArray[np.intp]) -> TestSet:
    """Some of its users."""
    return TestSet(
        test.users[places], test.relevant[places], test.seen[places], test.segments[places]
    )


class Bench:
    """One cut of a data set, on which rows are trained and judged."""

    def __init__(self, protocol: Protocol, cut: Cut) -> None:
        self._protocol, self._cut = protocol, cut
        self.dataset = protocol.log.dataset(cut.train)
        self.test = protocol.log.test_set(cut.train, cut.wanted)

    def bare(self, name: str) -> Judged:
        """A recommender with the settings of its grid that order best what is held back inside the
        training part.

        Raises:
            ValueError: the data lack what it needs.
        """
        chosen = self._chosen(name)
        started = perf_counter()
        all_items = {"dense_items": EASE_ITEMS} if name == "ease" else {}
        made = _made(name, all_items | chosen).fit(self.dataset)
        seconds = perf_counter() - started
        top = recommend(made, self.test.users, self.test.seen, self._protocol.k)
        judged = Judged.of(top, self.test, np.arange(len(self.test.users)), seconds)
        logger.info("%s: nDCG %.4f in %.0f s %s", name, judged.ndcg.mean(), seconds, chosen or "")
        return judged

    def feed(self, stages: Sequence[str]) -> dict[str, Judged]:
        """The rows of ``stages``. The settings, the weights and the ranker are those that training
        finds."""
        started, test, k = perf_counter(), self.test, self._protocol.k
        blend = make("blend", self.dataset.profile).fit(self.dataset)
        base = as_served(blend, self.dataset)
        assert isinstance(base, ByVectors)
        judged, seconds = dict[str, Judged](), perf_counter() - started
        if "blend" in stages:
            top = recommend(base, test.users, test.seen, k)
            judged["blend"] = Judged.of(top, test, np.arange(len(test.users)), seconds)
            logger.info("blend: nDCG %.4f in %.0f s", judged["blend"].ndcg.mean(), seconds)
        if not {"ranker", "feed"} & set(stages):
            return judged
        started = perf_counter()
        live = self._live(base)
        seconds += perf_counter() - started
        users = self._drawn()
        lists = feed_lists(live, [self.dataset.users[int(user)] for user in test.users[users]], k)
        for name, top in (("ranker", lists["ranker"]), ("feed", lists["diversity"])):
            if name in stages:
                judged[name] = Judged.of(top, test, users, seconds)
                logger.info("%s: nDCG %.4f in %.0f s", name, judged[name].ndcg.mean(), seconds)
        return judged

    def _live(self, base: ByVectors) -> Backtest:
        """The feed, with the ranker if there is enough to learn from."""
        train = pl.Series(self._cut.train)
        events = with_metadata(self._protocol.log.frame.filter(train).lazy())
        live = PastCatalogue(self.dataset, events).served_by(base.vectors)
        behind = SecondStage(base, self.dataset, events, self._earlier)
        try:
            ranker, report = behind.ranker("boosted")
        except TooLittleData as error:
            logger.warning("the feed has no ranker: %s", error)
            return live
        logger.info("ranker: of %d users, %s", report.users, list(report.importance)[:5])
        return live.with_ranker(ranker)

    def _earlier(self) -> tuple[Dataset, Vectors | None]:
        """
        Raises:
            ValueError: the data are not cut in time.
        """
        log, train = self._protocol.log, self._cut.train
        if not self._protocol.in_time:
            raise ValueError("not cut in time")
        share = log.profile.evaluation.test_share
        moment = np.quantile(log.seconds[train], 1 - share)
        return log.dataset(train & (log.seconds < moment)), None

    def _drawn(self) -> NDArray[np.intp]:
        """Places in the test set of those who get a feed."""
        count = len(self.test.users)
        if count <= FEED_USERS:
            return np.arange(count)
        return np.sort(np.random.default_rng(0).choice(count, FEED_USERS, replace=False))

    def _chosen(self, name: str) -> dict[str, Any]:
        grid = GRIDS.get(name, ({},))
        if len(grid) == 1:
            return grid[0]
        return max(grid, key=lambda settings: self._on_validation(_made(name, settings)))

    def _on_validation(self, recommender: Recommender) -> float:
        fold, k = self._fold, self._protocol.k
        seen = sparse.csr_array(fold.train.matrix.values[fold.users])
        wanted = fold.wanted.astype(np.float32)
        test = TestSet(fold.users, wanted, seen, np.full(len(fold.users), "warm"))
        fitted = recommender.fit(fold.train)
        return float(ndcg_of(recommend(fitted, test.users, test.seen, k), test).mean())

    @cached_property
    def _fold(self) -> Fold:
        newest = self._protocol.newest
        return hold_back(self.dataset, SHARE, newest=newest, seed=1).sampled(CHOSEN_BY, seed=1)


def _made(name: str, settings: dict[str, Any]) -> Recommender:
    kind: Callable[..., Recommender] = ZOO[name]
    return kind(SETTINGS[name](**settings)) if settings else kind()
