"""The feed's ranker: the same features from frames and from what is served, honest training sets,
and a file that is refused where it does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.catalogue.building import Catalogue
from models.catalogue.snapshots.snapshot import RANKER, Snapshot, SnapshotError
from models.catalogue.viewers.viewer import Viewer
from models.data.interactions import splits
from models.data.interactions.matrices import interaction_matrix
from models.evaluation.feed import FeedJudge
from models.feed.candidates.sources import RANKED
from models.feed.context import Context, device_of
from models.feed.scoring.scores import model_scores
from models.profile.ranker_settings import BoostedSettings
from models.profile.schema import Profile, load_profile
from models.ranking.calibration import MOST_WEIGHT, Calibration
from models.ranking.features.event_features import FEATURES, features
from models.ranking.features.live_features import FEATURES as FEATURES_OF
from models.ranking.features.live_features import Feature, Pairs, features_of
from models.ranking.features.table import FeatureMismatch, Table
from models.ranking.learned import LearnedRanker, ranker_of
from models.ranking.rankers.boosted import Boosted
from models.ranking.rankers.logistic import LogisticRanker
from models.ranking.training.backtest import Backtest, PastCatalogue, with_metadata
from models.ranking.training.fitting import Report, TooLittleData
from models.ranking.training.folds import RankerFold
from models.ranking.training.second_stage import SecondStage
from models.ranking.training.training_set import Visit, _outcome, examined, training_set
from models.recommenders import judging
from models.recommenders.base import Dataset
from models.recommenders.served import ByVectors, as_served
from models.recommenders.simple.popularity import PopularityRecommender
from tests.models.worlds import (
    MOMENT,
    NOW,
    PROFILE,
    TIME,
    Shelf,
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
    patient,
    shelf_of,
    shelf_of_rows,
    snapshot_of,
)

EVENTS = load_profile("events")
CONTEXT = Context.at(MOMENT, "phone")
LIVE_FEATURES = tuple(FEATURES_OF["boosted"])
Taught = tuple[Dataset, Backtest]
TYPES = ["view", "click", "like", "save", "share", "apply", "unapply", "dismiss", "dwell"]
LIKED_A = [("u", "a", "like", ago(days=1))]
SMALL = {"min_users": 10, "boosted": BoostedSettings(rounds=30, min_leaf=50)}


# The events profile: from frames, and from what is served.

done = st.tuples(
    st.sampled_from("vwxy"),
    st.integers(0, 7),
    st.sampled_from(TYPES),
    st.integers(0, 6),  # hours ago: some at one moment, and some at the moment of the features
)
an_item = st.tuples(
    st.sets(st.sampled_from("abc")),
    st.sampled_from(["Bonn", "Köln", None]),
    st.sampled_from(["music", "sport", None]),
    st.sampled_from(["o1", "o2", None]),
    st.sampled_from([None, -3, 20, 400]),
)


@given(st.lists(done, max_size=90), st.lists(an_item, min_size=8, max_size=8))
@settings(max_examples=12)
def test_events_features_are_those_of_frames(rows: list[Any], shelf: list[Any]) -> None:
    items: list[dict] = [
        {"id": f"e{place}", "tags": sorted(tags), "city": city, "category": category}
        | {"owner_id": owner, "starts_at": None if days is None else NOW + timedelta(days=days)}
        for place, (tags, city, category, owner, days) in enumerate(shelf)
    ]
    users: list[dict] = [
        {"id": "v", "city": "Bonn", "tags": ["a", "c"]},
        *({"id": id} for id in "wxy"),
    ]
    catalogue = catalogue_of(users, items)
    past = interactions_frame(
        [(user, f"e{item}", type, ago(hours=hours)) for user, item, type, hours in rows]
    )
    pairs = pl.DataFrame(
        [(user, f"e{item}", NOW) for user in "vwxy" for item in range(8)],
        schema={"user_id": pl.String, "item_id": pl.String, "occurred_at": TIME},
        orient="row",
    )
    framed = features(pairs, catalogue.users, catalogue.items, past, EVENTS.interaction_weights)
    live = shelf_of(snapshot_of(dataset_of(catalogue, past, profile=EVENTS)), EVENTS).live
    every, nothing = np.arange(8, dtype=np.int32), np.zeros(8, np.uint16)
    served = [
        features_of(
            "logistic", Pairs(live, live.viewer(user), EVENTS, every, nothing, MOMENT, CONTEXT)
        )
        for user in "vwxy"
    ]
    assert served[0].names == framed.names == FEATURES
    np.testing.assert_allclose(
        np.concatenate([table.values for table in served]), framed.values, atol=1e-6
    )


# Live features.


def of_trees(shelf: Shelf, viewer: Viewer, rows: np.ndarray) -> Table:
    sources = np.ones(len(rows), np.uint16)
    pairs = Pairs(shelf.live, viewer, shelf.profile, rows, sources, MOMENT, CONTEXT)
    return features_of("boosted", pairs)


def test_one_entry_makes_a_feature(
    shelf: Shelf, busy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEATURES_OF["boosted"], "toy", Feature(lambda pairs: pairs.rows / 2))
    table = of_trees(shelf, shelf.viewer(busy), np.arange(6, dtype=np.int32))
    assert table.names == (*LIVE_FEATURES, "toy")
    assert table.values[:, -1].tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    older = LearnedRanker.from_bytes(trees().to_bytes())
    assert older.names == LIVE_FEATURES  # a ranker that was trained before ranks on


def test_live_features_are_of_the_item_not_of_its_place(shelf: Shelf, busy: str) -> None:
    rows = np.arange(0, 300, 3, dtype=np.int32)
    table = of_trees(shelf, shelf.viewer(busy), rows)
    assert table.names == LIVE_FEATURES
    assert table.values.dtype == np.float32
    order = np.random.default_rng(0).permutation(len(rows))
    again = of_trees(shelf, shelf.viewer(busy), rows[order])
    np.testing.assert_array_equal(again.values, table.values[order])
    column = dict(zip(table.names, table.values.T, strict=True))
    live, viewer = shelf.live, shelf.viewer(busy)
    best = int(model_scores(live, viewer, rows).argmax())
    assert column["recommender.rank"][best] == 0
    assert (column["source.model"] == 1).all()
    assert (column["source.near"] == 0).all()
    seen = np.isin(rows, viewer.seen)
    assert (column["history.seen"] == seen).all()
    liked = dict(zip(viewer.liked.tolist(), viewer.liked_weights.tolist(), strict=True))
    total = sum(liked.values())
    for place, row in enumerate(rows[:20].tolist()):
        same = sum(w for one, w in liked.items() if live.items.owner[one] == live.items.owner[row])
        assert column["history.owner_share"][place] == pytest.approx(same / total, abs=1e-5)
    assert (column["context.device"] == 0).all()
    assert np.isfinite(column["recommender.score"]).all()


def test_who_liked_nothing_has_features_too(shelf: Shelf) -> None:
    stranger = Viewer("new", vector=np.zeros(shelf.live.items.vectors.shape[1], np.float32))
    table = of_trees(shelf, stranger, np.arange(10, dtype=np.int32))
    column = dict(zip(table.names, table.values.T, strict=True))
    assert np.isnan(column["history.owner_share"]).all()
    assert (column["history.length"] == 0).all()


def test_items_of_which_nothing_is_known_have_features_too() -> None:
    shelf = shelf_of_rows([{"id": "u"}], [{"id": "a"}, {"id": "b"}], interactions=LIKED_A)
    live, both, nothing = shelf.live, np.arange(2, dtype=np.int32), np.zeros(2, np.uint16)
    viewer = replace(live.viewer("u"), vector=np.zeros(0, np.float32))
    pairs = Pairs(live, viewer, shelf.profile, both, nothing, MOMENT, Context.at(MOMENT))
    for kind in FEATURES_OF:
        table = features_of(kind, pairs)
        assert not np.isinf(table.values).any()
    assert table.values[:, 1:7].max() == 0


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (None, None),
        ("feedwright-client", None),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0 Safari/537.36", "desktop"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148", "phone"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/130.0 Mobile Safari/537.36", "phone"),
        ("Mozilla/5.0 (Linux; Android 14; SM-X910) Chrome/130.0 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) Mobile/15E148", "tablet"),
    ],
)
def test_devices(agent: str | None, device: str | None) -> None:
    assert device_of(agent) == device


def test_context_is_of_the_moment() -> None:
    assert Context.at(MOMENT) == Context(0.0, 6)  # 2026-11-01 is a Sunday


# The file.


def trees(seed: int = 0) -> LearnedRanker:
    """Likes what the model ranks last."""
    rng = np.random.default_rng(seed)
    values = rng.random((400, len(LIVE_FEATURES))).astype(np.float32)
    place = LIVE_FEATURES.index("recommender.rank")
    values[:, place] = np.tile(np.log1p(np.arange(40)), 10)
    labels = (values[:, place] > np.log1p(20)).astype(int)
    model = Boosted.fit(
        Table(LIVE_FEATURES, values), labels, np.ones(400), np.full(10, 40),
        BoostedSettings(rounds=40, min_leaf=5, column_share=1.0),
    )  # fmt: skip
    return LearnedRanker("boosted", LIVE_FEATURES, model, Calibration(0.5, -2.0))


@pytest.fixture(scope="module")
def contrary() -> LearnedRanker:
    return trees()


def logistic_ranker() -> LearnedRanker:
    model = LogisticRanker(FEATURES, np.arange(8.0))
    return LearnedRanker("logistic", FEATURES, model, Calibration(1.0, -3.0))


def test_a_ranker_that_is_read_again_ranks_the_same(contrary: LearnedRanker) -> None:
    rng = np.random.default_rng(1)
    for ranker in (contrary, logistic_ranker()):
        again = LearnedRanker.from_bytes(ranker.to_bytes())
        table = Table(ranker.names, rng.random((50, len(ranker.names))).astype(np.float32))
        scores = again.predict(table)
        assert (scores == ranker.predict(table)).all()
        assert (again.probabilities(scores) == ranker.probabilities(scores)).all()
        assert again.digest == ranker.digest
        assert sum(again.importance().values()) == pytest.approx(1)


def test_a_ranker_of_other_features_is_refused_by_name(
    contrary: LearnedRanker, snapshot: Snapshot, tmp_path: Path
) -> None:
    content = json.loads(contrary.to_bytes())
    names = [name for name in content["names"] if name != "history.seen"] + ["weather"]
    other = json.dumps(content | {"names": names}).encode()
    folder = snapshot.save(tmp_path / "1", files={RANKER: other})
    with pytest.raises(FeatureMismatch, match="not made: weather"):
        ranker_of(Snapshot.load(folder))
    for broken in (
        b"{}",
        b"no",
        *(json.dumps(content | {"model": model}).encode() for model in ({"trees": "?"}, {}, None)),
    ):
        with pytest.raises(ValueError, match="ranker"):
            ranker_of(Snapshot.load(snapshot.save(tmp_path / "2", files={RANKER: broken})))


def test_a_ranker_stays_with_its_snapshot(
    contrary: LearnedRanker, snapshot: Snapshot, tmp_path: Path
) -> None:
    folder = snapshot.save(tmp_path / "1", files={RANKER: contrary.to_bytes()})
    loaded = Snapshot.load(folder)
    assert loaded.ranker == contrary.to_bytes()
    assert Snapshot.load(loaded.save(tmp_path / "2")).ranker == loaded.ranker
    (folder / RANKER).write_bytes(trees(seed=1).to_bytes())
    with pytest.raises(SnapshotError, match="manifest names"):
        Snapshot.load(folder)
    (folder / RANKER).unlink()
    with pytest.raises(SnapshotError):
        Snapshot.load(folder)


# Serving.


def with_ranker(snapshot: Snapshot, learned: LearnedRanker, /, **sections: Any) -> Shelf:
    return shelf_of(snapshot, patient(**sections), learned)


def test_the_first_items_are_in_the_rankers_order(
    snapshot: Snapshot, contrary: LearnedRanker, busy: str
) -> None:
    plain = {"strength": 0.0, "owner_penalty": 0.0, "category_penalty": 0.0}
    none = {"max_run_owner": None, "max_run_category": None}
    sections: dict[str, Any] = {"diversity": plain | none}
    own = shelf_of(snapshot, patient(**sections)).rank(busy, "model")
    shelf = with_ranker(snapshot, contrary, ranker={"rerank": 40}, **sections)
    ranking = shelf.rank(busy, "model")
    assert set(ranking.rows[:40].tolist()) == set(own.rows[:40].tolist())
    assert ranking.rows[:40].tolist() != own.rows[:40].tolist()
    assert (ranking.rows[40:] == own.rows[40:]).all()
    assert np.isin(own.rows[:15], ranking.rows[20:40]).mean() > 0.8, "it likes the last best"
    assert (np.diff(ranking.scores) <= 1e-7).all()
    assert ((ranking.sources & RANKED > 0) == (np.arange(len(ranking.rows)) < 40)).all()
    viewer, rows = shelf.viewer(busy), own.rows[:40]
    found = contrary.order(
        shelf.live, viewer, shelf.profile, rows, own.sources[:40],
        now=MOMENT, context=Context.at(MOMENT),
    )  # fmt: skip
    chances = contrary.probabilities(np.sort(found.scores)[::-1])
    assert ranking.scores[:40] == pytest.approx(chances)
    assert ranking.chances.shape == (len(ranking.rows), 0), "no action has a value"


def test_without_a_vector_or_a_ranker_all_is_as_before(
    snapshot: Snapshot, contrary: LearnedRanker, busy: str
) -> None:
    before, ranked = shelf_of(snapshot), with_ranker(snapshot, contrary)
    off = with_ranker(snapshot, contrary, ranker={"kinds": ()})
    assert off.feed(busy, "model") == before.feed(busy, "model") != ranked.feed(busy, "model")
    for by in ("heuristic", "time"):
        assert ranked.feed(busy, by) == before.feed(busy, by)
        assert ranked.feed(None, by) == before.feed(None, by)
    with pytest.raises(ValueError, match="does not know"):
        ranked.rank(None, "model")


def test_a_folded_in_user_is_ranked_by_it_too(snapshot: Snapshot, contrary: LearnedRanker) -> None:
    shelf = with_ranker(snapshot, contrary)
    new = Viewer("new", vector=shelf.live.users.vectors[3].copy())
    assert (shelf.rank(new, "model").sources & RANKED > 0).sum() == shelf.profile.ranker.rerank


def test_it_ranks_behind_a_recommender_without_vectors_too(
    contrary: LearnedRanker, snapshot: Snapshot, busy: str
) -> None:
    """Popularity has a bias alone."""
    users, items = snapshot.users, snapshot.items
    flat = replace(
        snapshot,
        users=replace(users, vectors=users.vectors[:, :0]),
        items=replace(items, vectors=items.vectors[:, :0]),
    )
    shelf = shelf_of(flat, patient(), contrary)
    ranking = shelf.rank(busy, "model")
    assert (ranking.sources & RANKED > 0).sum() == shelf.profile.ranker.rerank
    assert np.isfinite(ranking.scores).all()


def test_a_ranker_that_gives_no_numbers_is_an_error(
    snapshot: Snapshot, contrary: LearnedRanker, busy: str
) -> None:
    class Broken:
        def decide(self, table: Table) -> np.ndarray:
            return np.full(len(table.values), np.nan)

        def importance(self) -> np.ndarray:
            return np.zeros(len(contrary.names))

        def to_json(self) -> dict[str, Any]:
            return {}

    shelf = with_ranker(snapshot, replace(contrary, model=Broken()))
    with pytest.raises(FloatingPointError, match="ranker"):
        shelf.rank(busy, "model")


# Training sets.


@pytest.fixture(scope="module")
def split(catalogue: Catalogue, interactions: pl.DataFrame) -> Any:
    return splits.split_moment(interactions.lazy(), 0.4)


@pytest.fixture(scope="module")
def taught(catalogue: Catalogue, interactions: pl.DataFrame, split: Any) -> Taught:
    """What was known at the split, by popularity's vectors."""
    known = dataset_of(catalogue, interactions, as_of=split)
    vectors = PopularityRecommender().fit(known).vectors
    assert vectors is not None
    events = with_metadata(interactions.lazy().filter(before(split)))
    return known, PastCatalogue(known, events).served_by(vectors)


def before(moment: Any) -> pl.Expr:
    return pl.col("occurred_at") < moment


def with_settings(**changed: Any) -> Profile:
    section = PROFILE.ranker.model_copy(update=SMALL | changed)
    return PROFILE.model_copy(update={"ranker": section})


def test_a_training_set_sees_nothing_of_what_came_after(
    taught: Taught, interactions: pl.DataFrame, split: Any
) -> None:
    _, backtest = taught
    later = with_metadata(interactions.lazy().filter(~before(split)))
    some = {"max_users": 40, "unshown_weight": 0.5}
    found = training_set(backtest, later, "boosted", **some)  # type: ignore[arg-type]
    assert len(found.groups) == 40
    assert found.groups.sum() == len(found.labels) == len(found.table.values)
    assert 0 < found.labels.sum() < found.shown.sum()
    assert found.shown[found.labels].all()
    # The same visits at the same moments, but with other items: the features are the same.
    ids = interactions["item_id"].drop_nulls().unique().sort()
    shuffled = later.with_columns(
        item_id=ids.gather(np.random.default_rng(0).integers(0, len(ids), len(later)))
    )
    other = training_set(backtest, shuffled, "boosted", **some)  # type: ignore[arg-type]
    np.testing.assert_array_equal(other.table.values, found.table.values)
    assert (other.items == found.items).all()
    assert (other.labels != found.labels).any()


def test_clicks_weigh_by_how_likely_they_were_looked_at() -> None:
    visit = Visit(
        MOMENT, None,
        items=np.array([1, 2, 3, 4, 5], np.int32),
        shown=np.array([True, True, True, True, False]),
        positions=np.array([1, 3, 3, 3, 0]),
        propensities=np.array([1.0, 1.0, 0.5, 1e-3, 1.0]),
        liked=np.array([True, False, True, True, True]),
        done=np.array([[True], [True], [False], [False], [False]]),
    )  # fmt: skip
    rows = np.array([9, 5, 4, 3, 2, 1], np.int32)
    found = _outcome(rows, visit, np.array([1.0, 0.5, 0.25]), 0.3)
    labels, shown, weights, done, done_weights = found
    assert labels.tolist() == [False, True, True, True, False, True]
    assert shown.tolist() == [False, False, True, True, True, True]
    assert weights == pytest.approx([0.3, 1, MOST_WEIGHT, 8, 0.25, 1])
    assert done[:, 0].tolist() == [False, False, False, False, True, True]
    assert done_weights == pytest.approx([0.3, 1, MOST_WEIGHT, 8, 4, 1])


def test_what_the_metadata_tell() -> None:
    frame = interactions_frame([("u", "i", "impression", NOW)] * 3).with_columns(
        metadata=pl.Series(
            ['{"position": 2, "propensity": 0.25, "device": "phone"}', None, '{"position": "x"}']
        )
    )
    rows = with_metadata(frame.lazy())
    assert rows["position"].to_list() == [2, None, None]
    assert rows["propensity"].to_list() == [0.25, None, None]
    assert rows["device"].to_list() == ["phone", None, None]
    bare = with_metadata(interactions_frame([("u", "i", "view", NOW)]).lazy())
    assert bare["position"].to_list() == [None]


def behind_popularity(taught: Taught, interactions: pl.LazyFrame, profile: Profile) -> SecondStage:
    """Learns from what came after ``taught``'s moment."""
    known = replace(taught[0], profile=profile)
    vectors = PopularityRecommender().fit(known).vectors
    assert vectors is not None
    base = ByVectors("popularity", vectors, known.histories)
    return SecondStage(base, known, with_metadata(interactions), lambda: (known, vectors))


@pytest.fixture(scope="module")
def trained(taught: Taught, interactions: pl.DataFrame) -> tuple[LearnedRanker, Report]:
    until = splits.split_moment(interactions.lazy(), 0.2)
    log = interactions.lazy().filter(before(until))
    return behind_popularity(taught, log, with_settings()).ranker("boosted")


def test_it_beats_the_recommender_on_later_data(
    trained: tuple[LearnedRanker, Report], catalogue: Catalogue, interactions: pl.DataFrame
) -> None:
    ranker, report = trained
    assert report.ndcg > report.base_ndcg
    assert report.log_loss < report.base_log_loss
    assert report.rows > report.positives > 0
    split = splits.split_moment(interactions.lazy(), 0.2)
    known = dataset_of(catalogue, interactions, as_of=split)
    base = PopularityRecommender().fit(known)
    assert base.vectors is not None
    future = interaction_matrix(
        interactions.filter(~before(split)), known.users, known.items, PROFILE.interaction_weights
    )
    test = judging.test_set(known.matrix, future, heavy_user=50, max_users=100)
    judge = FeedJudge.of(known, test, interactions.lazy())
    alone = judge.evaluate("popularity", as_served(base, known))
    both = judge.evaluate("popularity-boosted", as_served(base, known), ranker)
    assert both.metrics["ndcg@10"] > alone.metrics["ndcg@10"] * 1.1
    stages = both.stages(10)
    assert list(stages) == ["recommender", "candidates", "ranker", "diversity"]
    assert stages["candidates"] == alone.stages(10)["candidates"]
    assert stages["ranker"] > stages["candidates"]
    assert stages["diversity"] == both.metrics["ndcg@10"]
    assert alone.stages(10)["ranker"] == alone.stages(10)["candidates"]


def test_the_logistic_one_learns_from_the_same_log(
    taught: Taught, interactions: pl.DataFrame
) -> None:
    behind = behind_popularity(taught, interactions.lazy(), with_settings(max_users=100))
    ranker, report = behind.ranker("logistic")
    assert ranker.names == FEATURES
    assert report.kind == "logistic"
    assert report.ndcg > report.base_ndcg


def test_too_little_data_is_said(taught: Taught, interactions: pl.DataFrame) -> None:
    behind = behind_popularity(taught, interactions.lazy(), with_settings(min_users=50_000))
    with pytest.raises(TooLittleData, match=r"ranker\.min_users"):
        behind.ranker("boosted")


def test_where_nobody_came_back_the_newest_of_each_are_learnt_from(
    taught: Taught, interactions: pl.DataFrame
) -> None:
    """The recommender is trained again without them: no score has seen its outcome."""
    early = interactions.lazy().filter(before(taught[0].as_of))
    _, report = behind_popularity(taught, early, with_settings()).ranker("boosted")
    assert report.users > 10
    events = with_metadata(early)
    fold = RankerFold.of_users(taught[0], events, newest=True, max_users=100, seed=0)
    assert fold.users(PROFILE) == 100
    assert len(fold.before) + len(fold.later) < len(events)  # nothing newest of the others either
    pairs = fold.later.select("user_id", "item_id").unique()
    assert fold.before.join(pairs, on=["user_id", "item_id"], how="semi").is_empty()
    assert taught[0].times is not None
    liked, times = taught[0].matrix.liked, taught[0].times.tocsr()
    rows = taught[0].users.indices(fold.later["user_id"].unique().sort().head(20))
    for row in rows.tolist():
        kept = fold.train.matrix.liked[[row]].indices
        held = np.setdiff1d(liked[[row]].indices, kept)
        assert times[[row]].toarray()[0, held].min() >= times[[row]].toarray()[0, kept].max()


def test_items_drawn_at_random_are_learnt_from_for_a_test_that_is_so(
    taught: Taught, interactions: pl.DataFrame
) -> None:
    known = replace(taught[0], profile=with_settings(held_back="random"))
    events = with_metadata(interactions.lazy().filter(before(known.as_of)))
    vectors = PopularityRecommender().fit(known).vectors
    assert vectors is not None

    def earlier() -> Taught:
        raise AssertionError("there is no moment")

    base = ByVectors("popularity", vectors, known.histories)
    _, report = SecondStage(base, known, events, earlier).ranker("boosted")  # type: ignore[arg-type]
    assert report.users > 10
    by_newest, by_chance = (
        RankerFold.of_users(known, events, newest=newest, max_users=100, seed=0).later
        for newest in (True, False)
    )
    assert by_chance["occurred_at"].median() < by_newest["occurred_at"].median()  # type: ignore[operator]


def test_positions_are_learnt_from_the_log(interactions: pl.DataFrame) -> None:
    """The sample's users look at a position with the chance ``1 / log2(position + 1)``."""
    seen = examined(with_metadata(interactions.lazy()), PROFILE)
    truth = 1 / np.log2(np.arange(1, 11) + 1)
    assert seen == pytest.approx(truth, abs=0.15)
    assert examined(with_metadata(interactions.lazy().drop("metadata")), PROFILE).tolist() == [1]
