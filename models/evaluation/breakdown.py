"""What a feed is made of: which sources find what users liked, and what each table adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.live import LiveCatalogue
from models.evaluation.feed import FeedJudge
from models.evaluation.metrics.list_quality import Paired, paired
from models.feed.candidates.sources import BITS, Candidates
from models.feed.pipeline import FeedPipeline, Query
from models.recommenders.base import Scorer
from models.recommenders.judging import TestSet, ndcg_of

MOST_USERS = 200
"""Of the test, evenly drawn: a feed a table and user takes a millisecond or two."""
ALL_SOURCES = "all of them"


@dataclass(frozen=True)
class SourceFinds:
    """How much of what users liked later a source names.

    Attributes:
        items: that it names a user, on average.
        recall: share of a user's relevant items among them, on average; ``alone``: of those that
            no other source names; NaN of ``ALL_SOURCES``.
    """

    source: str
    items: float
    recall: float
    alone: float


@dataclass(frozen=True)
class TableAdds:
    """What a table of the blend adds, left out with the other weights as they are.

    Attributes:
        without: mean nDCG of the feed then.
        adds: to nDCG, over the same users.
    """

    table: str
    weight: float
    without: float
    adds: Paired


@dataclass(frozen=True)
class Breakdown:
    """
    Attributes:
        users: how many it is of.
        ndcg: mean of the feed by the recommender alone, with no ranker behind it.
        sources: by recall, ``ALL_SOURCES`` last.
        tables: by what they add; of a blend of at least two.
    """

    users: int
    ndcg: float
    sources: list[SourceFinds]
    tables: list[TableAdds]


def breakdown(judge: FeedJudge, scorer: Scorer) -> Breakdown:
    """Of the feed of a recommender, without a ranker: that one reads the tables too."""
    backtest, test = judge.served(scorer), _sample(judge.test)
    users, k = judge.ids(test.users), judge.past.dataset.profile.evaluation.k
    blend = backtest.pipeline.live.snapshot.blend
    weights = {name: weight for name, weight in blend.weights.items() if weight > 0}
    left_out = list(weights) if len(weights) > 1 else []
    without = [_weighed(backtest.pipeline, weights | {name: 0.0}) for name in left_out]
    lists = np.full((1 + len(without), len(users), k), -1)
    candidates = []
    query = Query(backtest.now, exclude_seen=True)
    for row, viewer in enumerate(backtest.viewers(users, np.full(len(users), backtest.now))):
        viewer = viewer if viewer.preferences.personalized else viewer.impersonal()
        candidates.append(backtest.pipeline.candidates(viewer))
        # What the tables say is worked out once a viewer, whatever the weights.
        for number, pipeline in enumerate((backtest.pipeline, *without)):
            first = pipeline.rank(viewer, query).rows[:k]
            lists[number, row, : len(first)] = first
    whole, *others = (ndcg_of(top, test) for top in lists)
    tables = [
        TableAdds(name, weights[name], float(ndcg.mean()), paired(whole, ndcg))
        for name, ndcg in zip(left_out, others, strict=True)
    ]
    tables.sort(key=lambda table: -table.adds.difference.mean)
    sources = _sources(candidates, test.relevant, backtest.pipeline.live.size)
    return Breakdown(len(users), float(whole.mean()), sources, tables)


def _sample(test: TestSet) -> TestSet:
    sample = np.arange(0, len(test.users), -(-len(test.users) // MOST_USERS))
    return TestSet(*(column[sample] for column in vars(test).values()))


def _weighed(pipeline: FeedPipeline, weights: Mapping[str, float]) -> FeedPipeline:
    """The same with other weights of the blend."""
    snapshot = pipeline.live.snapshot
    blend = asdict(replace(snapshot.blend, weights=weights))
    changed = replace(snapshot, manifest=replace(snapshot.manifest, blend=blend))
    return replace(pipeline, live=LiveCatalogue(changed))


def _sources(
    candidates: Sequence[Candidates], relevant: sparse.csr_array, n_items: int
) -> list[SourceFinds]:
    """
    Args:
        candidates: of each user, those of ``relevant``'s rows.
    """
    bits = np.zeros(relevant.nnz, np.uint16)  # of the sources that name each
    for row, of_user in enumerate(candidates):
        of_items = np.zeros(n_items, np.uint16)
        of_items[of_user.rows] = of_user.sources
        part = slice(*relevant.indptr[row : row + 2])
        bits[part] = of_items[relevant.indices[part]]
    named = np.concatenate([of_user.sources for of_user in candidates])

    def recall(hits: NDArray[np.bool_]) -> float:
        of_users = np.add.reduceat(hits, relevant.indptr[:-1], dtype=np.float64)
        return float((of_users / np.diff(relevant.indptr)).mean())

    sources = [
        SourceFinds(name, items, recall((bits & bit) > 0), recall(bits == bit))
        for name, bit in BITS.items()
        if (items := np.count_nonzero(named & bit) / len(candidates))
    ]
    sources.sort(key=lambda source: -source.recall)
    every = SourceFinds(ALL_SOURCES, len(named) / len(candidates), recall(bits > 0), float("nan"))
    return [*sources, every]
