"""Ranking metrics against oracles, and a split that leaks nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.evaluation import ranking_metrics_at_k
from scipy import sparse
from sklearn.metrics import ndcg_score

from models.catalogue.building import Catalogue
from models.data.ids import IdIndex
from models.data.interactions import splits
from models.data.interactions.matrices import InteractionMatrix
from models.evaluation.metrics import evaluation, list_quality
from models.recommenders import judging
from models.recommenders.base import Dataset
from models.recommenders.simple.popularity import PopularityRecommender
from models.recommenders.zoo import ZOO
from tests.models.worlds import NOW, ago, dataset_of, interactions_frame

K = 5
LISTS = st.tuples(
    st.permutations(range(12)).map(lambda items: items[:K]), st.sets(st.integers(0, 11), min_size=1)
)


def naive(top: list[int], relevant: set[int]) -> dict[str, float]:
    hits = [item in relevant for item in top]
    reachable = min(len(relevant), len(top))
    precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit]
    return {
        "recall": sum(hits) / reachable,
        "map": sum(precisions) / reachable,
        "mrr": 1 / (hits.index(True) + 1) if any(hits) else 0,
        "hit_rate": float(any(hits)),
    }


@given(st.lists(LISTS, min_size=1, max_size=5))
def test_metrics_are_those_of_the_textbook(users: list[tuple[list[int], set[int]]]) -> None:
    top = np.array([items for items, _ in users])
    relevant = np.array([[item in wanted for item in range(12)] for _, wanted in users])
    hits = np.take_along_axis(relevant, top, axis=1)
    metrics = judging.ranking_metrics(hits, relevant.sum(axis=1))
    for user, (items, wanted) in enumerate(users):
        for name, value in naive(items, wanted).items():
            assert metrics[name][user] == pytest.approx(value)
        scores = np.zeros(12)
        scores[items] = np.arange(K, 0, -1)
        expected = ndcg_score([relevant[user].astype(float)], [scores], k=K, ignore_ties=True)
        assert metrics["ndcg"][user] == pytest.approx(expected)
        assert all(0 <= metrics[name][user] <= 1 for name in evaluation.PER_USER)


@given(st.lists(LISTS, min_size=1, max_size=5))
def test_metrics_are_those_of_implicit(users: list[tuple[list[int], set[int]]]) -> None:
    """Against a library that has its own code for them, given the same lists."""
    top = np.array([items for items, _ in users])
    for _, wanted in users:
        wanted.discard(11 if len(wanted) == 12 else -1)  # it divides by what is not wanted
    relevant = np.array([[item in wanted for item in range(12)] for _, wanted in users])
    counts = relevant.sum(axis=1)
    ours = judging.ranking_metrics(np.take_along_axis(relevant, top, axis=1), counts)

    class Lists:
        def recommend(self, rows: np.ndarray, known: object, N: int) -> tuple:
            return top[rows].astype(np.int32), np.ones((len(rows), N), np.float32)

    theirs = ranking_metrics_at_k(
        Lists(),
        sparse.csr_matrix(relevant.shape),
        sparse.csr_matrix(relevant.astype(float)),
        K=K,
        show_progress=False,
        num_threads=1,
    )
    assert ours["ndcg"].mean() == pytest.approx(theirs["ndcg"])
    assert ours["map"].mean() == pytest.approx(theirs["map"])
    # Theirs is over all places at once: each user weighs as much as can be reached.
    reachable = np.minimum(counts, K)
    assert np.average(ours["recall"], weights=reachable) == pytest.approx(theirs["precision"])


class Fixed:
    """A recommender of given scores."""

    name = "fixed"

    def __init__(self, scores: np.ndarray | None = None) -> None:
        self.scores = np.zeros((0, 0)) if scores is None else scores

    def fit(self, dataset: Dataset, *, progress: object = None) -> Self:
        return self

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.scores[users].astype(np.float32)


def matrix_of(values: list[list[float]]) -> InteractionMatrix:
    dense = np.array(values, np.float32)
    users, items = (IdIndex.of([f"{n:03}" for n in range(count)]) for count in dense.shape)
    return InteractionMatrix(users, items, sparse.csr_array(dense), sparse.csr_array(dense.shape))


def test_recommend_leaves_out_what_was_seen_and_breaks_ties_by_index() -> None:
    seen = matrix_of([[0, -5, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
    users = np.arange(3)
    top = judging.recommend(Fixed(np.ones((3, 4))), users, seen.values[users], 3)
    assert top.tolist() == [[0, 2, 3], [3, -1, -1], [-1, -1, -1]]
    assert judging.recommend(Fixed(np.ones((3, 4))), users, seen.values[users], 99).shape == (
        3,
        4,
    )
    assert judging.recommend(
        Fixed(np.ones((3, 4))), users[:0], seen.values[users[:0]], 3
    ).shape == (0, 3)


def test_recommend_is_the_same_in_blocks(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    seen = matrix_of((rng.random((20, 30)) < 0.2).astype(float).tolist())
    model = Fixed(rng.integers(0, 5, (20, 30)))  # many ties
    whole = judging.recommend(model, np.arange(20), seen.values, 7)
    monkeypatch.setattr(judging, "BLOCK_SCORES", 90)
    assert (judging.recommend(model, np.arange(20), seen.values, 7) == whole).all()


def test_only_new_items_of_users_with_something_to_find_are_judged() -> None:
    train = matrix_of([[1, 0, -5, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0]])
    future = matrix_of([[3, 0, 4, 5], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]])
    test = judging.test_set(train, future, heavy_user=2, max_users=10)
    assert test.users.tolist() == [0, 1]
    assert [test.relevant[[row]].indices.tolist() for row in (0, 1)] == [[3], [1]]
    assert test.segments.tolist() == ["heavy", "cold"]
    sample = judging.test_set(train, future, heavy_user=9, max_users=1, seed=4)
    again = judging.test_set(train, future, heavy_user=9, max_users=1, seed=4)
    assert len(sample.users) == 1
    assert sample.users.tolist() == again.users.tolist()


def test_metrics_of_the_lists() -> None:
    even = matrix_of(np.eye(4).tolist())
    everything = evaluation.list_metrics(np.array([[0, 1], [2, 3]]), even)
    assert everything["coverage"] == 1
    assert everything["popularity_bias"] == pytest.approx(0.5)  # nothing is more popular
    assert everything["novelty"] == pytest.approx(-np.log2(2 / 5))
    biased = matrix_of([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]])
    assert evaluation.list_metrics(np.array([[0, -1]]), biased)["popularity_bias"] > 0.8
    nothing = evaluation.list_metrics(np.full((2, 2), -1), biased)
    assert nothing == {"coverage": 0, "novelty": 0, "popularity_bias": 0}


@pytest.mark.parametrize(
    ("candidate", "stands", "difference"),
    [
        ([0.5] * 9, True, 0.0),
        ([0.4] * 9, False, -0.1),
        ([0.6] * 9, True, 0.1),
        ([0.0, 1.0] * 4 + [0.4], True, -0.1 / 9),
    ],
)
def test_not_worse(candidate: list[float], stands: bool, difference: float) -> None:
    verdict, mean, half = judging.not_worse(np.array(candidate), np.full(9, 0.5))
    assert verdict is stands
    assert mean == pytest.approx(difference)
    assert half >= 0


def test_not_worse_of_few() -> None:
    assert judging.not_worse(np.zeros(0), np.zeros(0)) == (True, 0, np.inf)
    assert judging.not_worse(np.array([0.25]), np.array([0.5])) == (False, -0.25, np.inf)


def test_what_anybody_can_make_up_moves_no_split() -> None:
    """Nor does what nobody did, or was done with nothing."""
    known = [("u1", "i1", "click", ago(days=days)) for days in range(10, 0, -1)]
    made_up = [
        (user, item, "click", ago(hours=1))
        for user, item in (("ghost", "i1"), ("u1", "lost"), (None, "i1"), ("u1", None))
    ] * 20
    log = interactions_frame([*known, *made_up]).lazy()
    users, items = IdIndex.of(["u1", "u2"]), IdIndex.of(["i1"])
    moment = splits.split_moment(splits.of_known(log, users, items), 0.2)
    assert moment == splits.split_moment(interactions_frame(known).lazy(), 0.2)


def test_the_split_is_by_time(interactions: pl.DataFrame) -> None:
    moment = splits.split_moment(interactions.lazy(), 0.2)
    after = interactions.filter(pl.col("occurred_at") >= moment)
    assert len(after) / len(interactions) == pytest.approx(0.2, abs=0.001)
    with pytest.raises(ValueError, match="no interactions"):
        splits.split_moment(interactions_frame([]).lazy(), 0.2)


@pytest.mark.parametrize("name", ZOO)
def test_nothing_of_the_future_leaks(
    name: str, catalogue: Catalogue, interactions: pl.DataFrame
) -> None:
    """What users do after the split, and when items are made after it, changes no score."""
    split = splits.split_moment(interactions.lazy(), 0.3)
    future = pl.col("occurred_at") >= split
    altered = interactions.with_columns(
        item_id=pl.when(future).then(pl.lit("i1")).otherwise("item_id"),
        type=pl.when(future).then(pl.lit("apply")).otherwise("type"),
        occurred_at=pl.when(future)
        .then(pl.col("occurred_at") + timedelta(days=3))
        .otherwise("occurred_at"),
    )
    made_later = Catalogue(
        catalogue.users,
        catalogue.items.with_columns(
            created_at=pl.when(pl.col("created_at") > split)
            .then(NOW + timedelta(days=9))
            .otherwise("created_at")
        ),
        catalogue.owners,
    )
    users = np.arange(50)
    before = ZOO[name]().fit(dataset_of(catalogue, interactions, as_of=split))
    after = ZOO[name]().fit(dataset_of(made_later, altered, as_of=split))
    assert (before.score(users) == after.score(users)).all()


def test_evaluate_judges_by_segment(dataset: Dataset) -> None:
    users, items = dataset.matrix.values.shape
    new = int(np.setdiff1d(np.arange(items), dataset.matrix.values[[0]].indices)[0])
    wanted = sparse.csr_array((np.ones(1, np.float32), ([0], [new])), shape=(1, items))
    test = judging.TestSet(np.array([0]), wanted, dataset.matrix.values[[0]], np.array(["warm"]))
    scores = np.zeros((users, items))
    scores[:, new] = 1
    result = evaluation.evaluate(Fixed(scores), dataset, test, k=10)
    assert result.metrics["ndcg@10"] == result.metrics["ndcg@10.warm"] == 1
    assert "ndcg@10.cold" not in result.metrics
    assert result.metrics["users"] == result.metrics["users.warm"] == 1
    assert result.metrics["users.cold_items"] == len(result.groups.get("cold items", []))
    shown = evaluation.table([result], 10)
    assert shown["recommender"].to_list() == ["fixed"]
    assert not [name for name in shown.columns if "." in name]


def test_of_cold_items_nothing_else_counts(dataset: Dataset) -> None:
    """Three users: one finds the cold item behind another, one misses it, one wants none."""
    counts = np.bincount(dataset.matrix.values.indices, minlength=len(dataset.items))
    order = np.argsort(counts, kind="stable")
    cold, warm = int(order[0]), order[-3:]
    assert counts[cold] < evaluation.COLD_ITEM <= counts[warm[0]]
    wanted = np.zeros((3, len(dataset.items)))
    wanted[[0, 0, 1, 2], [cold, warm[0], cold, warm[0]]] = 1
    scores = np.zeros((3, len(dataset.items)))
    scores[:, warm] = (3, 2, 1)
    scores[0, cold] = 2.5
    nothing = sparse.csr_array(wanted.shape)
    test = judging.TestSet(np.arange(3), sparse.csr_array(wanted), nothing, np.array(["warm"] * 3))
    judged = evaluation.evaluate(Fixed(scores), dataset, test, k=3)
    second = 1 / np.log2(3)
    assert judged.groups["cold items"] == pytest.approx([second, 0])
    assert judged.metrics["ndcg@3.cold_items"] == pytest.approx(second / 2)
    assert judged.metrics["hit_rate@3.cold_items"] == 0.5
    assert judged.metrics["users.cold_items"] == 2
    assert judged.metrics["ndcg@3"] > second / 2
    of_new = judged.groups.get("new items", np.zeros(0))
    assert of_new.tolist() == (judged.groups["cold items"].tolist() if counts[cold] == 0 else [])
    assert judged.metrics["users.new_items"] == len(of_new)


def test_popularity_surprises_nobody(dataset: Dataset, rng: np.random.Generator) -> None:
    users = np.arange(60)
    seen = dataset.matrix.values[users]
    wanted = sparse.csr_array((rng.random(seen.shape) < 0.1).astype(np.float32))
    test = judging.TestSet(users, wanted, seen, np.array(["warm"] * 60))
    background = evaluation.Background.of(dataset, test, k=10)
    popular = PopularityRecommender().fit(dataset)
    assert (judging.recommend(popular, users, seen, 10) == background.popular).all()
    judged = evaluation.evaluate(popular, dataset, test, k=10, background=background)
    assert judged.metrics["serendipity"] == 0
    assert judged.metrics["exposure.top_10_percent"] > background.consumed.heads[1]
    other = Fixed(rng.random((len(dataset.users), len(dataset.items))))
    judged = evaluation.evaluate(other, dataset, test, k=10, background=background)
    assert judged.metrics["serendipity"] > 0
    assert judged.metrics["exposure.gini_items"] < background.consumed.gini_items + 0.5
    assert np.isfinite(list(judged.metrics.values())).all()


@given(st.integers(1, 12), st.integers(1, 6), st.data())
def test_popular_lists_are_those_of_recommend(n_items: int, k: int, data: st.DataObject) -> None:
    prior = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items)))
    seen = np.array(
        data.draw(
            st.lists(
                st.lists(st.booleans(), min_size=n_items, max_size=n_items), min_size=1, max_size=4
            )
        )
    )
    k = min(k, n_items)
    known = sparse.csr_array(seen.astype(float))
    model = Fixed(np.tile(prior, (len(seen), 1)))
    expected = judging.recommend(model, np.arange(len(seen)), known, k)
    assert (list_quality.popular_lists(prior, known, k) == expected).all()


def test_intervals_share_their_resamples_and_do_not_depend_on_blocks(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    values = rng.random((3, 40))
    whole = list_quality.intervals(values, resamples=500)
    alone = list_quality.bootstrap(values[1], resamples=500)
    monkeypatch.setattr(list_quality, "BLOCK_DRAWS", 100)
    in_blocks = list_quality.intervals(values, resamples=500)[1]
    for other in (alone, in_blocks):
        assert (other.low, other.high) == pytest.approx((whole[1].low, whole[1].high))
    normal = 1.96 * values[0].std() / 40**0.5
    assert whole[0].high - whole[0].mean == pytest.approx(normal, rel=0.25)


def test_holm_is_stricter_than_each_test_alone() -> None:
    adjusted = list_quality.holm(np.array([0.01, 0.04, 0.03, 0.5]))
    assert adjusted == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert list_quality.holm(np.zeros(0)).tolist() == []
