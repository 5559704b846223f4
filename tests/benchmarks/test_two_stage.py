"""Rankers: honest folds, features in their order, the events profile's examples, and two stages
that beat their parts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from benchmarks.two_stage.blend import BlendSettings
from benchmarks.two_stage.boosted import Boosted, BoostedSettings
from benchmarks.two_stage.first_stage import candidates, out_of_fold, out_of_time, ranks
from benchmarks.two_stage.listwise import Listwise, ListwiseSettings
from benchmarks.two_stage.sessions import (
    Histories,
    Nearness,
    SessionNeighbours,
    SessionUsers,
    nearness,
)
from benchmarks.two_stage.two_stage import TwoStage, TwoStageSettings
from models.data.matrices import InteractionMatrix
from models.evaluation import list_quality
from models.profile.schema import load_profile
from models.ranking import logistic
from models.ranking.calibration import Calibration, click_weights, examination
from models.ranking.table import FeatureMismatch, Table, check_names, digest
from models.recommenders.base import Dataset
from models.recommenders.judging import ndcg_and_coverage
from models.recommenders.judging import test_set as judged_users
from tests.models.worlds import ITEMS, NOW, USERS, ago, catalogue_of, dataset_of, interactions_frame

N_USERS, N_ITEMS = 120, 40
SMALL = TwoStageSettings(
    candidates=20,
    ranker=BlendSettings(
        boosted=BoostedSettings(rounds=30, min_leaf=20, leaves=7, column_share=0.8),
        listwise=ListwiseSettings(ridge=30.0),
    ),
)


def made_up(seed: int = 0) -> tuple[Dataset, InteractionMatrix]:
    """Half of the users like even items, half odd ones, all the low ones more; and what they
    do next."""
    rng = np.random.default_rng(seed)
    appeal = 1 / np.arange(2, N_ITEMS + 2)
    rows, later = [], np.zeros((N_USERS, N_ITEMS))
    for user in range(N_USERS):
        taste = appeal * np.where(np.arange(N_ITEMS) % 2 == user % 2, 8, 1)
        count = 14 if user % 3 else 9
        chosen = rng.choice(N_ITEMS, count, replace=False, p=taste / taste.sum())
        later[user, chosen[-4:]] = 1
        rows += [
            (f"u{user:03}", f"i{item:03}", "like", ago(hours=100 - place))
            for place, item in enumerate(chosen[:-4])
        ]
    users = [{"id": f"u{user:03}", "tags": ["ab"[user % 2]]} for user in range(N_USERS)]
    items = [{"id": f"i{item:03}", "tags": ["ab"[item % 2]]} for item in range(N_ITEMS)]
    dataset = dataset_of(catalogue_of(users, items), interactions_frame(rows))
    future = sparse.csr_array(later.astype(np.float32))
    matrix = InteractionMatrix(dataset.users, dataset.items, future, dataset.matrix.applied)
    return dataset, matrix


class Partly:
    """Knows the truth of one half of the users (and items' halves), and guesses for the rest."""

    def __init__(self, half: int) -> None:
        self.half, self.name = half, f"half_{half}"

    def fit(self, dataset: Dataset, *, progress: object = None) -> Self:
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(self.half).random((N_USERS, N_ITEMS))[users]
        appeal = 1 / np.arange(2, N_ITEMS + 2)
        truth = np.where(np.arange(N_ITEMS) % 2 == self.half, 1 + appeal, appeal)
        return np.where((users % 2 == self.half)[:, None], truth, noise).astype(np.float32)


class Memory:
    """Remembers what it was trained on, and nothing else."""

    name = "memory"

    def fit(self, dataset: Dataset, *, progress: object = None) -> Self:
        self._liked = dataset.matrix.positive.toarray()
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        return self._liked[users]


def ndcg(recommender: Any, dataset: Dataset, future: InteractionMatrix) -> float:
    test = judged_users(dataset.matrix, future, heavy_user=50, max_users=1_000)
    return float(ndcg_and_coverage(recommender, test, k=10)[0].mean())


def test_two_stages_beat_their_parts(tmp_path: Path) -> None:
    dataset, future = made_up()
    parts = {"half_0": lambda: Partly(0), "half_1": lambda: Partly(1)}
    both = TwoStage(SMALL, others=parts).fit(dataset)
    reached = ndcg(both, dataset, future)
    for half in (0, 1):
        assert reached > ndcg(Partly(half), dataset, future) + 0.05
    assert both.vectors is None
    both.save(tmp_path)
    users = np.arange(N_USERS)
    assert (TwoStage.load(tmp_path).score(users) == both.score(users)).all()


def test_a_first_stage_that_memorises_does_not_help_the_ranker() -> None:
    dataset, future = made_up()
    for fold in out_of_fold(dataset, 4):
        recalled = Memory().fit(fold.known).score(np.arange(N_USERS))
        assert (recalled[fold.wanted.toarray()] == 0).all()
        assert fold.known.validation is None
    honest = TwoStage(SMALL, others={}).fit(dataset)
    tempted = TwoStage(SMALL, others={"memory": Memory}).fit(dataset)
    assert all(ranker.importance()["memory.score"] < 0.1 for ranker in tempted.rankers)
    assert ndcg(tempted, dataset, future) == pytest.approx(ndcg(honest, dataset, future), abs=0.05)


@given(st.integers(2, 5), st.integers(0, 20))
@settings(max_examples=10)
def test_folds_hide_each_pair_once(count: int, seed: int) -> None:
    dataset, _ = made_up()
    liked, hidden = dataset.matrix.positive.toarray() > 0, np.zeros((N_USERS, N_ITEMS))
    for fold in out_of_fold(dataset, count, seed=seed):
        wanted = fold.wanted.toarray()
        assert not (wanted & (fold.known.matrix.values.toarray() > 0)).any()
        assert fold.known.popularity.overall.mean() == pytest.approx(1)
        hidden += wanted
    assert (hidden == liked).all()


def test_folds_in_time_see_no_future() -> None:
    rows = [("u1", "i1", "like", ago(days=3)), ("u1", "i2", "like", ago(days=1))]
    frame = interactions_frame(rows)
    catalogue = catalogue_of([{"id": "u1"}], [{"id": "i1"}, {"id": "i2"}])
    then = dataset_of(catalogue, frame, as_of=ago(days=2))
    now = dataset_of(catalogue, frame)
    (fold,) = out_of_time([then, now])
    assert fold.known.matrix.values.toarray().astype(bool).tolist() == [[True, False]]
    assert fold.wanted.toarray().tolist() == [[False, True]]
    with pytest.raises(ValueError, match="rise"):
        list(out_of_time([now, then]))


def test_candidates_are_new_and_agreed_on() -> None:
    seen = sparse.csr_array(np.array([[1, 0, 0, 0], [1, 1, 1, 0]], np.float32))
    scores = np.array([[9, 3, 2, 1], [4, 3, 2, 1]], np.float32)
    places = ranks(scores, seen)
    assert places[0].tolist() == [3, 0, 1, 2]
    chosen = candidates([places], 2, seen)
    assert chosen[0].tolist() == [1, 2]
    assert sorted(chosen[1].tolist()) == [-1, 3]


def test_other_features_are_refused() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((200, 2)).astype(np.float32)
    labels = (values[:, 0] > 0.5).astype(float)
    groups = np.full(20, 10)
    ranker = Boosted(SMALL.ranker.boosted).fit(Table(("a", "b"), values), labels, groups)
    again = Boosted.from_json(ranker.to_json())
    same = again.predict(Table(("a", "b"), values), groups)
    assert (same == ranker.predict(Table(("a", "b"), values), groups)).all()
    with pytest.raises(FeatureMismatch, match="another order"):
        again.predict(Table(("b", "a"), values), groups)
    with pytest.raises(FeatureMismatch, match=r"missing: b; not trained on: c"):
        check_names(("a", "b"), ("a", "c"))
    assert digest(("a", "b")) != digest(("b", "a"))
    with pytest.raises(ValueError, match="both"):
        Boosted().fit(Table(("a", "b"), values), np.zeros(200), groups)


def test_a_line_weighs_a_column_by_how_active_the_user_is() -> None:
    rng = np.random.default_rng(0)
    groups = np.full(200, 10)
    values = rng.normal(size=(2_000, 3)).astype(np.float32)
    values[:, 2] = np.repeat(np.arange(200) % 2, 10)
    helpful = np.where(values[:, 2] > 0, values[:, 0], values[:, 1])
    labels = (helpful.reshape(200, 10).argmax(axis=1)[:, None] == np.arange(10)).reshape(-1)

    def first_is_wanted(names: tuple[str, ...]) -> float:
        table = Table(names, values)
        fitted = Listwise(ListwiseSettings(ridge=1.0)).fit(table, labels, groups)
        again = Listwise.from_json(json.loads(json.dumps(fitted.to_json())))
        assert (again.predict(table) == fitted.predict(table)).all()
        best = again.predict(table).reshape(200, 10).argmax(axis=1)
        return float(labels.reshape(200, 10)[np.arange(200), best].mean())

    assert first_is_wanted(("a", "b", "user.active")) > 0.9
    assert first_is_wanted(("a", "b", "c")) < 0.7


def test_a_stretch_of_a_history_finds_neighbours() -> None:
    """v has b next to a, w has c far from a: who has a alone gets b before c."""
    known = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], np.float32)
    times = np.array([[9, 0, 0, 0], [5, 6, 0, 0], [5, 0, 90, 0], [0, 0, 0, 7]], np.float64)
    dataset, _ = made_up()
    matrix = replace(dataset.matrix, values=sparse.csr_array(known))
    fitted = SessionUsers(sparse.csr_array(times), Nearness("seconds", 10.0)).fit(
        replace(dataset, matrix=matrix)
    )
    (scores,) = fitted.score(np.array([0]))
    assert scores[1] > 2 * scores[2] > 0
    assert scores[3] == 0


def test_sessions_know_what_follows_what() -> None:
    known = sparse.csr_array(np.ones((1, 3), np.float32))
    times = sparse.csr_array(np.array([[100.0, 160.0, 400.0]]))
    histories = Histories.of(known, times)
    near = nearness(histories, Nearness("seconds", 60.0), 3).toarray()
    assert near[0, 1] == pytest.approx(np.exp(-1))
    assert near[1, 2] == pytest.approx(np.exp(-4))
    assert (near == near.T).all()
    assert (np.diag(near) == 0).all()
    steps = nearness(histories, Nearness("steps", 1.0, reach=1), 3).toarray()
    assert steps[1, 2] == pytest.approx(np.exp(-1))
    assert steps[0, 2] == 0
    with pytest.raises(ValueError, match="moment"):
        Histories.of(known, sparse.csr_array(np.array([[100.0, 0.0, 400.0]])))


def test_sessions_score_from_what_is_known_only() -> None:
    dataset, _ = made_up()
    pattern = dataset.matrix.values.copy()
    pattern.data = np.arange(1, pattern.nnz + 1, dtype=np.float64)
    more = pattern.tolil()
    more[0, :] = 5e5
    scores = [
        SessionNeighbours(times, Nearness("steps", 3.0), between=between)
        .fit(dataset)
        .score(np.arange(5, 10))
        for between in (False, True)
        for times in (pattern, sparse.csr_array(more.tocsr()))
    ]
    assert scores[0].shape == scores[2].shape == (5, N_ITEMS)
    assert scores[0].any()
    assert scores[2].any()
    others = [fold.known for fold in out_of_fold(dataset, 3)]
    fitted = SessionNeighbours(pattern, Nearness("steps", 3.0)).fit(others[0])
    assert np.isfinite(fitted.score(np.arange(N_USERS))).all()


# The events profile.


def events(rows: list[tuple[Any, ...]], **facts: list[Any]) -> pl.DataFrame:
    return interactions_frame(rows).with_columns(
        pl.Series(name, values) for name, values in facts.items()
    )


SHELF = pl.DataFrame({"id": [f"e{place}" for place in range(30)]})


def positives(rows: list[tuple[Any, ...]], **facts: list[Any]) -> dict[str, float]:
    found = logistic.examples(events(rows, **facts), SHELF).filter(pl.col("label") == 1)
    return dict(zip(found["item_id"], found["weight"], strict=True))


def test_the_strongest_thing_done_to_an_item_counts() -> None:
    rows = [
        ("v", "e1", "view", ago(hours=9)),
        ("v", "e1", "click", ago(hours=8)),
        ("v", "e2", "apply", ago(hours=7)),
        ("v", "e3", "apply", ago(hours=6)),
        ("v", "e4", "save", ago(hours=5)),
        ("v", "e5", "dwell", ago(hours=5)),
        ("v", "e6", "dwell", ago(hours=4)),
        ("v", "e7", "dwell", ago(hours=3)),
        ("v", "e8", "share", ago(hours=2)),
    ]
    seconds = [None, None, None, None, None, 10.0, 600.0, 65.0, None]
    attended = [None, None, True, False, None, None, None, None, None]
    assert positives(rows, seconds=seconds, attended=attended) == pytest.approx(
        {"e1": 0.4, "e2": 1.5, "e3": 1.0, "e4": 1.2, "e5": 0.35, "e6": 0.8, "e7": 0.575, "e8": 0.6}
    )


def test_unapply_takes_the_positive_away() -> None:
    rows = [
        ("v", "e1", "save", ago(hours=9)),
        ("v", "e1", "apply", ago(hours=8)),
        ("v", "e1", "unapply", ago(hours=7)),
        ("v", "e2", "unapply", ago(hours=6)),
        ("v", "e2", "apply", ago(hours=5)),
    ]
    found = logistic.examples(events(rows), SHELF)
    assert positives(rows) == {"e2": 1.0}
    gone = found.filter(pl.col("item_id") == "e1")
    assert gone.select("label", "weight").rows() == [(0, 2.0)]


def test_searches_are_weak_and_few() -> None:
    rows = [("v", f"e{place}", "search", ago(hours=place)) for place in range(1, 6)]
    rows.append(("v", "e1", "click", ago(minutes=1)))
    assert positives(rows) == pytest.approx({"e1": 0.4, "e2": 0.15, "e3": 0.15})


def test_negatives_prefer_what_was_shown_and_not_clicked() -> None:
    rows: list[tuple[Any, ...]] = [("v", "e0", "click", ago(hours=1))]
    rows += [("v", f"e{place}", "impression", ago(hours=2)) for place in (0, 1, 2)]
    found = logistic.examples(events(rows, position=[None, 1, 2, 6]), SHELF)
    negative = found.filter(pl.col("label") == 0)
    assert len(negative) == 3
    assert negative["item_id"].n_unique() == 3
    weights = dict(zip(negative["item_id"], negative["weight"], strict=True))
    assert "e0" not in weights, "it was clicked"
    assert (weights.pop("e1"), weights.pop("e2")) == (0.25, 0.10)
    assert list(weights.values()) == [0.05], "never shown"
    assert found.equals(logistic.examples(events(rows, position=[None, 1, 2, 6]), SHELF))


def people_and_events() -> tuple[pl.DataFrame, pl.DataFrame]:
    users = pl.DataFrame([{"id": "v", "city": "Bonn", "tags": ["jazz"]}], schema=USERS)
    items = [
        {"id": "e1", "tags": ["jazz", "free"], "city": "Bonn", "category": "music"},
        {"id": "e2", "tags": ["free"], "city": "Köln", "category": "music"},
    ]
    starts = {"owner_id": "o1", "starts_at": NOW + timedelta(days=18)}
    return users, pl.DataFrame([item | starts for item in items], schema=ITEMS)


def test_features_are_of_the_moment() -> None:
    users, items = people_and_events()
    past = interactions_frame(
        [
            ("v", "e1", "click", ago(days=2)),
            ("w", "e2", "apply", ago(days=2)),
            ("w", "e2", "apply", ago(hours=1)),
        ]
    )
    pairs = pl.DataFrame(
        {"user_id": ["v", "v"], "item_id": ["e2", "e2"], "occurred_at": [ago(days=3), ago(days=1)]},
        schema_overrides={"occurred_at": pl.Datetime("us", "UTC")},
    )
    table = logistic.features(pairs, users, items, past, load_profile("events").interaction_weights)
    assert table.names == logistic.FEATURES
    before, after = (dict(zip(table.names, row, strict=True)) for row in table.values.tolist())
    assert before == pytest.approx(
        dict.fromkeys(table.names, 0.0) | {"bias": 1, "days_until": 21 / 180}
    )
    assert after == pytest.approx(
        {
            "bias": 1,
            "overlap_interest_ratio": 0,
            "overlap_history_ratio": 1,
            "same_city": 0,
            "category_match": 1,
            "organizer_match": 1,
            "popularity": np.log(2) / 5,
            "days_until": 19 / 180,
        }
    )


def test_logistic_learns_and_refuses_other_features() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((500, len(logistic.FEATURES))).astype(np.float32)
    values[:, 0] = 1
    labels = (values[:, 3] > 0.5).astype(int)
    table = Table(logistic.FEATURES, values)
    ranker = logistic.LogisticRanker.fit(table, labels, np.ones(500))
    assert int(np.abs(ranker.weights[1:]).argmax()) == 2
    again = logistic.LogisticRanker.from_json(ranker.to_json())
    assert (again.decide(table) == ranker.decide(table)).all()
    with pytest.raises(FeatureMismatch):
        again.decide(Table(logistic.FEATURES[::-1], values))
    with pytest.raises(FeatureMismatch):
        logistic.LogisticRanker.from_json(
            ranker.to_json() | {"names": [*logistic.FEATURES, "weather"]}
        )


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_probabilities_mean_what_they_say(method: Any) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=4_000)
    outcomes = (rng.random(4_000) < 1 / (1 + np.exp(-(2 * scores - 1)))).astype(float)
    fitted = Calibration.fit(scores, outcomes, method=method)
    fitted = Calibration.from_json(fitted.to_json())
    said = fitted.probabilities(scores)
    for low in (0.0, 0.25, 0.5, 0.75):
        inside = (said >= low) & (said < low + 0.25)
        assert said[inside].mean() == pytest.approx(outcomes[inside].mean(), abs=0.04)
    assert (np.diff(fitted.probabilities(np.sort(scores))) >= 0).all()


def test_positions_are_told_from_appeal() -> None:
    rng = np.random.default_rng(0)
    truth, count = 1 / np.arange(1, 5), 60_000
    items, positions = rng.integers(0, 30, count), rng.integers(1, 5, count)
    # What appeals stands higher, so the click rate by position alone would mislead.
    positions = np.where((items < 10) & (rng.random(count) < 0.6), 1, positions)
    clicks = (rng.random(count) < np.where(items < 10, 0.6, 0.2) * truth[positions - 1]).astype(
        float
    )
    seen = examination(items, positions, clicks)
    assert seen == pytest.approx(truth, abs=0.05)
    assert click_weights(np.array([1, 2, 9]), truth).tolist() == [1, 2, 4]


# What lists are like.


def test_lists_are_diverse_surprising_and_sure() -> None:
    features = sparse.csr_array(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    top = np.array([[0, 1], [0, 2], [2, -1]])
    assert list_quality.intra_list_diversity(top, features) == pytest.approx([0, 1, 0])
    hits = np.array([[True, True], [True, False], [True, False]])
    popular = np.array([[0, 2], [1, 2], [2, 0]])
    assert list_quality.serendipity(top, hits, popular).tolist() == [0.5, 0.5, 0]
    better = np.random.default_rng(0).random(200)
    tested = list_quality.paired(better, better - 0.1)
    assert tested.difference.mean == pytest.approx(0.1)
    assert tested.p < 1e-6
    inside = list_quality.bootstrap(better)
    assert inside.low < inside.mean < inside.high
    assert list_quality.paired(better, better).p == 1
