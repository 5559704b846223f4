"""What a feed is made of, counted again by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from models.catalogue.building import Catalogue
from models.data.interactions.splits import split_moment
from models.evaluation.breakdown import ALL_SOURCES, breakdown
from models.evaluation.feed import FeedJudge
from models.feed.candidates.sources import BITS
from models.profile.recommender_settings import BlendSettings
from models.recommenders import judging
from models.recommenders.blending.blend import BlendOfTables
from models.recommenders.served import ByVectors, as_served
from models.recommenders.simple.popularity import PopularityRecommender
from tests.models.worlds import dataset_of


@pytest.fixture(scope="module")
def judge(catalogue: Catalogue, interactions: pl.DataFrame) -> FeedJudge:
    split = split_moment(interactions.lazy(), 0.2)
    past = dataset_of(catalogue, interactions, as_of=split)
    later = dataset_of(catalogue, interactions.filter(pl.col("occurred_at") >= split)).matrix
    test = judging.test_set(past.matrix, later, heavy_user=50, max_users=40)
    return FeedJudge.of(past, test, interactions.lazy())


@pytest.fixture(scope="module")
def blend(judge: FeedJudge) -> ByVectors:
    settings = BlendSettings(parts=("item_knn", "user_knn", "popularity"), least=0.0)
    known = judge.past.dataset
    served = as_served(BlendOfTables(settings).fit(known), known)
    assert isinstance(served, ByVectors)
    return served


def test_what_a_source_finds(judge: FeedJudge, blend: ByVectors) -> None:
    found = {one.source: one for one in breakdown(judge, blend).sources}
    backtest, users = judge.served(blend), judge.ids(judge.test.users)
    recalls, alone, named = [], [], []
    for row, viewer in enumerate(backtest.viewers(users, np.full(len(users), backtest.now))):
        candidates = backtest.pipeline.candidates(viewer)
        by_item = dict(zip(candidates.rows.tolist(), candidates.sources.tolist(), strict=True))
        wanted = judge.test.relevant[[row]].indices.tolist()
        bits = [by_item.get(item, 0) for item in wanted]
        recalls.append({name: np.mean([b & bit > 0 for b in bits]) for name, bit in BITS.items()})
        alone.append({name: np.mean([b == bit for b in bits]) for name, bit in BITS.items()})
        recalls[-1][ALL_SOURCES] = np.mean([b > 0 for b in bits])
        named.append(np.count_nonzero(candidates.sources & BITS["model"]))
    assert {"model", "popular"} <= found.keys() <= {*BITS, ALL_SOURCES}
    for name, one in found.items():
        assert one.recall == pytest.approx(np.mean([row[name] for row in recalls]))
        if name != ALL_SOURCES:
            assert one.alone == pytest.approx(np.mean([row[name] for row in alone]))
            assert one.alone <= one.recall <= found[ALL_SOURCES].recall
    assert found["model"].items == pytest.approx(np.mean(named))


def test_what_a_table_adds_is_the_feed_without_it(judge: FeedJudge, blend: ByVectors) -> None:
    found = breakdown(judge, blend)
    weights = blend.vectors.blend.weights
    assert found.ndcg == pytest.approx(ndcg_of_feed(judge, blend))
    assert {one.table for one in found.tables} == {n for n, weight in weights.items() if weight}
    assert len(found.tables) > 1
    for one in found.tables:
        vectors = replace(
            blend.vectors, blend=replace(blend.vectors.blend, weights={**weights, one.table: 0.0})
        )
        assert one.without == pytest.approx(ndcg_of_feed(judge, replace(blend, vectors=vectors)))
        assert one.adds.difference.mean == pytest.approx(found.ndcg - one.without)
        assert one.weight == weights[one.table]


def test_what_is_no_blend_has_sources_alone(judge: FeedJudge) -> None:
    known = judge.past.dataset
    found = breakdown(judge, as_served(PopularityRecommender().fit(known), known))
    assert found.users == len(judge.test.users)
    assert found.tables == []
    assert found.sources[-1].source == ALL_SOURCES


def ndcg_of_feed(judge: FeedJudge, scorer: ByVectors) -> float:
    return float(judging.ndcg_of(judge.lists(scorer)["diversity"], judge.test).mean())
