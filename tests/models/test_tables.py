"""Score tables: what serves is what was scored, and a new event counts at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from models.catalogue.building import Catalogue
from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import MANIFEST, Snapshot, SnapshotError
from models.catalogue.tables.factors import VectorTable
from models.catalogue.tables.kinds import ItemTable, UserTable
from models.catalogue.tables.scores import Histories
from models.catalogue.tables.stored import VECTORS
from models.data.interactions.splits import split_moment
from models.data.ragged import Ragged
from models.evaluation.comparison import compare
from models.feed.pipeline import FeedPipeline, Query
from models.feed.reasons import reasons
from models.feed.scoring.scores import explained, model_scores, table_scores
from models.profile.recommender_settings import BlendSettings
from models.ranking.features.live_features import Pairs, directions, features_of, names_of
from models.recommenders import judging
from models.recommenders.base import Dataset
from models.recommenders.blending.blend import BlendOfTables
from models.recommenders.folds import hold_back
from models.recommenders.served import as_served, of_snapshot
from models.recommenders.serving import standard
from models.recommenders.zoo import make
from tests.models.worlds import MOMENT, PLAIN, PROFILE, dataset_of, patient, snapshot_of

PARTS = (
    "als",
    "lightfm_hybrid",
    "pure_svd",
    "item_knn",
    "user_knn",
    "transitions",
    "content",
    "popularity",
)


@pytest.fixture(scope="module")
def blend(dataset: Dataset) -> BlendOfTables:
    return BlendOfTables(BlendSettings(parts=PARTS, least=0.0)).fit(dataset)


@pytest.fixture(scope="module")
def blended(dataset: Dataset, blend: BlendOfTables, interactions: pl.DataFrame) -> Snapshot:
    return snapshot_of(dataset, blend.vectors, recommender="blend", interactions=interactions)


def test_many_at_once_and_one_by_one_are_scored_alike(blended: Snapshot) -> None:
    """As the evaluation asks, and as the feed does."""
    live, known = LiveCatalogue(blended), len(blended.items.ids)
    likes = sparse.csr_array(blended.users.liked.to_csr(known))
    histories = Histories(likes, recent=blended.users.recent)
    users = np.flatnonzero(np.diff(likes.indptr))[:30]
    kinds = {table.kind for table in blended.tables.values()}
    assert kinds >= {"items", "users", "factors", "vectors"}
    items = np.arange(known, dtype=np.int32)
    for name, table in blended.tables.items():
        asked = histories.asked(users, table.fade, weighted=table.weighted)
        together = standard(table.scores(asked, users, likes))
        for row, scores in zip(users.tolist(), together, strict=True):
            viewer = replace(live.viewer(blended.users.ids[row]), dismissed=np.zeros(0, np.int32))
            alone = table_scores(live, viewer)[name]
            assert alone.standard(items) == pytest.approx(scores, rel=1e-3, abs=1e-3), name
            best = alone.best(3)
            assert (np.diff(scores[best]) <= 1e-3).all()
            if len(best):
                assert scores[best[0]] == pytest.approx(scores.max(), abs=1e-3)


def test_histories_by_times_and_by_what_was_liked_last_are_the_same(
    dataset: Dataset, blended: Snapshot
) -> None:
    users = np.arange(40)
    by_times = dataset.histories.newest(users)
    fewer = np.arange(by_times.shape[1]) < 20  # moments of this log are often the same
    both = by_times[:, fewer], blended.users.recent[users][:, fewer]
    assert all((np.sort(one) == np.sort(other)).mean() > 0.95 for one, other in [both])


def test_a_snapshot_keeps_its_tables(blended: Snapshot, tmp_path: Path) -> None:
    loaded = Snapshot.load(blended.save(tmp_path / "1"))
    assert loaded.blend == blended.blend
    assert list(loaded.tables) == list(blended.tables)
    users = np.arange(20)
    assert (of_snapshot(loaded).score(users) == of_snapshot(blended).score(users)).all()


@pytest.mark.parametrize("damage", ["gone", "of other items", "not finite", "kind"])
def test_damaged_tables_are_refused_by_name(blended: Snapshot, tmp_path: Path, damage: str) -> None:
    folder = blended.save(tmp_path / "1")
    name = next(name for name, table in blended.tables.items() if isinstance(table, ItemTable))
    file = folder / f"tables.{name}.related.values.npy"
    if damage == "gone":
        file.unlink()
    elif damage == "of other items":
        np.save(folder / f"tables.{name}.related.indptr.npy", np.zeros(3, np.int64))
    elif damage == "not finite":
        np.save(file, np.full_like(np.load(file), np.nan))
    else:
        text = (folder / MANIFEST).read_text().replace('"kind": "users"', '"kind": "trees"')
        (folder / MANIFEST).write_text(text)
    named = "no kind 'trees'" if damage == "kind" else rf"tables\.{name}\.related"
    with pytest.raises(SnapshotError, match=named):
        Snapshot.load(folder)


def test_the_blend_is_better_than_its_parts(
    catalogue: Catalogue, interactions: pl.DataFrame
) -> None:
    """On what came after, which no part of the training has seen."""
    split = split_moment(interactions.lazy(), 0.2)
    past = dataset_of(catalogue, interactions, as_of=split)
    profile = PROFILE.model_copy(update={"recommenders": {"blend": BlendSettings(parts=PARTS)}})
    past = replace(past, profile=profile)
    comparison = compare(past, interactions.lazy())
    ours = comparison.of("blend").per_user["after_recommender"].mean()
    assert comparison.plans["blend"].weights.keys() <= {
        *PARTS, *(f"{part}_recent" for part in PARTS)
    }  # fmt: skip
    test = comparison.test
    for part in PARTS:
        scorer = as_served(make(part, PROFILE).fit(past), past)
        alone = judging.ndcg_of(judging.recommend(scorer, test.users, test.seen, 10), test)
        assert ours > 0.97 * alone.mean(), part


def test_a_plan_is_trained_again_without_a_search(dataset: Dataset, blend: BlendOfTables) -> None:
    again = make("blend", PROFILE, blend.plan).fit(dataset)
    assert isinstance(again, BlendOfTables)
    assert again.plan == blend.plan
    users = np.arange(20)
    assert (again.score(users) == blend.score(users)).all()


def test_the_feed_is_in_the_order_of_the_blend(
    dataset: Dataset, blend: BlendOfTables, blended: Snapshot
) -> None:
    live, profile = LiveCatalogue(blended), patient(diversity=PLAIN, ranker={"kinds": ()})
    pipeline = FeedPipeline.offline(live, profile, now=MOMENT)
    served = as_served(blend, dataset)
    for row in range(0, 40, 4):
        viewer = live.viewer(blended.users.ids[row])
        if len(viewer.dismissed):
            continue
        ranking = pipeline.rank(viewer, Query(MOMENT, "model", exclude_seen=True))
        scores = served.score(np.array([row]))[0]
        own = model_scores(live, viewer, ranking.rows)
        assert own == pytest.approx(scores[ranking.rows], abs=0.04)
        assert (np.diff(own) <= 1e-5).all()
        best = np.argsort(-np.delete(scores, viewer.seen))[:5]
        left = np.delete(np.arange(len(scores)), viewer.seen)[best]
        shown = pipeline.allowed(viewer, left.astype(np.int32), Query(MOMENT, exclude_seen=True))
        assert set(left[shown]) <= set(ranking.rows[:10].tolist())
        first = ranking.rows[:5]
        components = explained(live, viewer, profile, first, now=MOMENT)
        assert len(reasons(live, viewer, profile, first, components)) == len(first)


def test_the_ranker_sees_every_table(blended: Snapshot) -> None:
    from models.feed.context import Context

    live = LiveCatalogue(blended)
    viewer, rows = live.viewer(blended.users.ids[0]), np.arange(12, dtype=np.int32)
    sources = np.zeros(12, np.uint16)
    table = features_of(
        "boosted", Pairs(live, viewer, PROFILE, rows, sources, MOMENT, Context.at(MOMENT))
    )
    assert table.names == names_of("boosted", blended)
    for name in (*blended.tables, VECTORS):
        assert directions([f"table.{name}.score", f"table.{name}.rank"]) == [1, -1]
        score = table.values[:, table.names.index(f"table.{name}.score")]
        rank = table.values[:, table.names.index(f"table.{name}.rank")]
        assert (np.diff(rank[np.argsort(-score, kind="stable")]) > 0).all()


def test_what_is_held_back_is_the_newest(dataset: Dataset) -> None:
    fold = hold_back(dataset, 0.2, newest=True, seed=0).sampled(50, seed=0)
    assert len(fold.users) == 50
    assert dataset.times is not None
    for place, user in enumerate(fold.users.tolist()):
        wanted = fold.wanted[[place]].indices
        known = fold.train.matrix.liked[[user]].indices
        assert not np.isin(wanted, known).any()
        newest = dataset.times[[user]].toarray()[0]
        assert newest[wanted].min() >= newest[known].max()


def test_vectors_know_nothing_of_who_came_after(blended: Snapshot) -> None:
    live, rows = LiveCatalogue(blended), np.arange(len(blended.items.ids), dtype=np.int32)
    name = next(n for n, table in blended.tables.items() if isinstance(table, VectorTable))
    scores = table_scores(live, live.viewer("nobody"))[name]
    assert not scores.standard(rows).any()
    assert not len(scores.best(5))


def test_a_user_table_is_the_cosine_by_hand() -> None:
    rows = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1.0]])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    likes = sparse.csr_array(rows.astype(np.float32))
    fans = Ragged.of(sparse.csr_array(unit.T.astype(np.float32)))
    table = UserTable(fans, np.ones(4, np.float32), neighbours=2)
    similar = rows @ unit.T
    np.fill_diagonal(similar, 0)
    least = np.sort(similar, axis=1)[:, -2][:, None]
    expected = np.where(similar >= least, similar, 0) @ rows
    assert table.scores(likes, np.arange(4), likes) == pytest.approx(expected, abs=1e-5)


def test_a_table_that_fades_needs_an_order() -> None:
    likes = sparse.csr_array(np.ones((2, 3), np.float32))
    table = ItemTable(Ragged.empty(3), fade=2.0)
    with pytest.raises(ValueError, match="times are not known"):
        Histories(likes).asked(np.arange(2), table.fade, weighted=False)
