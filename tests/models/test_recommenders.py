"""What the recommenders learn, and which one wins."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.catalogue.building import Catalogue, NotFiniteError, Vectors
from models.data.interactions.matrices import interaction_matrix
from models.data.interactions.popularity import Popularity
from models.data.interactions.splits import split_moment
from models.evaluation.comparison import Comparison, NothingToJudge, compare, fingerprint
from models.evaluation.feed import FeedJudge
from models.evaluation.metrics.evaluation import evaluate
from models.profile.recommender_settings import SETTINGS
from models.profile.schema import Profile
from models.recommenders import judging
from models.recommenders.base import Dataset
from models.recommenders.factorisation.als import ALS
from models.recommenders.factorisation.lightfm_hybrid import LightFMHybrid
from models.recommenders.neighbours.ease import EASE
from models.recommenders.served import as_served, vectors_of
from models.recommenders.serving import standard
from models.recommenders.simple.heuristic import Heuristic
from models.recommenders.simple.popularity import PopularityRecommender
from models.recommenders.zoo import ZOO, make
from tests.models.worlds import (
    PROFILE,
    Interaction,
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
)


def tuned(**lightfm: object) -> Profile:
    return PROFILE.model_copy(update={"lightfm": PROFILE.lightfm.model_copy(update=lightfm)})


def clustered(seed: int = 0) -> tuple[Catalogue, pl.DataFrame]:
    """160 users of four tastes, 120 items; each likes what is of the own taste."""
    rng = np.random.default_rng(seed)
    rows: list[Interaction] = []
    for user in range(160):
        favourites = user % 4 + 4 * rng.permutation(30)[:18]
        days = np.sort(rng.uniform(0, 30, 18))[::-1]
        rows += [
            (f"u{user:03}", f"i{item:03}", "apply", ago(days=float(day)))
            for item, day in zip(favourites, days, strict=True)
        ]
    catalogue = catalogue_of(
        [{"id": f"u{user:03}"} for user in range(160)],
        [{"id": f"i{item:03}", "created_at": ago(days=60)} for item in range(120)],
    )
    return catalogue, interactions_frame(rows)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    catalogue, rows = clustered()
    past = dataset_of(
        catalogue,
        rows,
        as_of=split_moment(rows.lazy(), 0.2),
        profile=tuned(epochs=20, strength=3.0),
    )
    return compare(past, rows.lazy())


def test_lightfm_finds_the_clusters(comparison: Comparison) -> None:
    ndcg = {one.recommender: one.metrics["ndcg@10"] for one in comparison.evaluations}
    assert set(ndcg) == set(PROFILE.recommenders)
    chance = 0.25 * 18 / 30  # an item of the own taste, and among those that are liked
    assert ndcg["lightfm_hybrid"] > 2 * ndcg["popularity"]
    assert ndcg["lightfm_hybrid"] > chance
    assert min(ndcg[name] for name in ("ease", "als", "user_knn")) > chance
    assert comparison.winner not in ("popularity", "heuristic")
    assert comparison.verdict


def test_the_comparison_shows_all(comparison: Comparison) -> None:
    table = comparison.table()
    assert table["ndcg@10"].is_sorted(descending=True)
    for name in ("recall@10", "map@10", "mrr@10", "hit_rate@10", "coverage", "novelty"):
        assert table[name].is_not_null().all()
    assert comparison.of("popularity").metrics["users"] > 100
    assert comparison.of("ease").metrics["seconds_to_train"] > 0
    assert comparison.failed == {}


def past_and_rows(**recommenders: dict) -> tuple[Dataset, pl.LazyFrame]:
    """The clusters before the split, for a profile of these recommenders."""
    catalogue, rows = clustered()
    profile = Profile.model_validate(PROFILE.model_dump() | {"recommenders": recommenders})
    as_of = split_moment(rows.lazy(), 0.2)
    return dataset_of(catalogue, rows, as_of=as_of, profile=profile), rows.lazy()


def test_the_profile_says_who_competes_and_how() -> None:
    past, rows = past_and_rows(popularity={}, als={"iterations": 3}, lightfm={"epochs": 2})
    told: list[tuple[str, int, int]] = []
    found = compare(
        past, rows, progress=lambda name: lambda done, total: told.append((name, done, total))
    )
    assert [one.recommender for one in found.evaluations] == ["popularity", "als", "lightfm"]
    assert [step for step in told if step[0] == "als"] == [("als", n, 3) for n in (1, 2, 3)]
    window = past.validation  # the newest tenth, by which LightFM sees when to stop
    assert window is not None
    share = window.later.nnz / past.matrix.liked.nnz
    assert share == pytest.approx(0.1, abs=0.01)


def test_one_that_does_not_train_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self: ALS, dataset: Dataset, **_: object) -> ALS:
        raise ArithmeticError("on purpose")

    monkeypatch.setattr(ALS, "fit", breaks)
    past, rows = past_and_rows(als={}, popularity={})
    found = compare(past, rows)
    assert [one.recommender for one in found.evaluations] == [found.winner] == ["popularity"]
    assert found.failed == {"als": "ArithmeticError: on purpose"}
    assert found.verdict.endswith("; left out, since not to be trained: als")
    past, rows = past_and_rows(als={})
    with pytest.raises(ValueError, match=r"none could be trained.*als.*on purpose"):
        compare(past, rows)


@pytest.mark.parametrize(
    ("users", "fold", "said"),
    [
        (np.nan, None, "^users: some of the numbers are not finite"),
        (1, np.inf, "^fold: some of the numbers are not finite"),
        (-1e30, None, "scores overflow"),
        (1, 1e30, "scores overflow"),
    ],
)
def test_vectors_that_score_no_number_are_refused(
    users: float, fold: float | None, said: str
) -> None:
    def of(value: float) -> np.ndarray:
        return np.array([[1, value]], np.float32)

    with pytest.raises(NotFiniteError, match=said):
        Vectors(of(users), of(1e20), of(0)[0], None if fold is None else of(fold))


def test_scores_that_are_no_numbers_leave_a_recommender_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Heuristic, "score", lambda self, users: np.full((len(users), 120), np.nan))
    past, rows = past_and_rows(heuristic={}, popularity={})
    found = compare(past, rows)
    assert found.winner == "popularity"
    assert found.failed == {"heuristic": "NotFiniteError: some of the scores are NaN or infinite"}


def test_an_interrupt_ends_the_comparison() -> None:
    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    past, rows = past_and_rows(als={}, popularity={})
    with pytest.raises(KeyboardInterrupt):
        compare(past, rows, progress=lambda name: interrupted)


def test_the_winner_is_chosen_by_one_window_and_judged_by_another(
    catalogue: Catalogue, interactions: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_moment(interactions.lazy(), 0.2)
    settings = {name: SETTINGS[name]() for name in ("heuristic", "popularity")}
    rules = PROFILE.evaluation.model_copy(update={"held_back_users": 0})
    profile = PROFILE.model_copy(update={"recommenders": settings, "evaluation": rules})
    past = dataset_of(catalogue, interactions, as_of=split, profile=profile)
    found = compare(past, interactions.lazy())
    assert found.held is None
    judged = found.of("popularity")
    assert judged.chosen_by is not None
    assert len(judged.per_user["ndcg"]) == len(found.test.users)
    later = interactions.filter(pl.col("occurred_at") >= split)
    middle = split_moment(later.lazy(), 0.5)

    def test_of(rows: pl.DataFrame) -> judging.TestSet:
        future = interaction_matrix(rows, past.users, past.items, PROFILE.interaction_weights)
        return judging.test_set(past.matrix, future, heavy_user=20, max_users=10_000)

    first, second = (test_of(later.filter(part)) for part in (
        pl.col("occurred_at") < middle, pl.col("occurred_at") >= middle
    ))  # fmt: skip
    assert found.test.users.tolist() == second.users.tolist()
    assert (found.test.relevant.toarray() == second.relevant.toarray()).all()
    assert len(judged.chosen_by) == len(first.users)
    assert judged.metrics["ndcg@10.choosing"] == judged.chosen_by.mean()
    alone = FeedJudge.of(past, first, interactions.lazy())
    again = alone.evaluate("popularity", as_served(make("popularity", profile).fit(past), past))
    assert again.per_user["ndcg"].tolist() == judged.chosen_by.tolist()
    monkeypatch.setattr("models.evaluation.comparison.WINDOW_USERS", 10_000)
    whole = compare(past, interactions.lazy())
    assert whole.of("popularity").chosen_by is None
    assert len(whole.test.users) > len(second.users)


def test_it_is_chosen_by_the_newest_items_of_who_did_not_come_back_too(
    catalogue: Catalogue, interactions: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.evaluation.comparison.WINDOW_USERS", 20)
    split = split_moment(interactions.lazy(), 0.2)
    rules = PROFILE.evaluation.model_copy(update={"held_back_users": 30})
    settings = {name: SETTINGS[name]() for name in ("ease", "popularity")}
    profile = PROFILE.model_copy(update={"recommenders": settings, "evaluation": rules})
    past = dataset_of(catalogue, interactions, as_of=split, profile=profile)
    found = compare(past, interactions.lazy())
    held, ease = found.held, found.of("ease")
    assert held is not None
    assert 20 <= len(held.users) <= 30
    came = interactions.filter(pl.col("occurred_at") >= split)["user_id"].unique()
    weighed = set(past.users.indices(came).tolist())
    assert not weighed & set(held.users.tolist()) & set(found.test.users.tolist())
    # Nobody has learnt from it, and each is judged by it.
    known = held.train(past)
    assert known.matrix.liked.nnz == past.matrix.liked.nnz - held.wanted.nnz
    test = held.test_set(known, rules.heavy_user)
    judge = FeedJudge.of(known, test, interactions.lazy(), held=held)
    again = judge.evaluate("ease", as_served(make("ease", profile).fit(known), known))
    assert ease.chosen_by is not None
    assert set(again.per_user["ndcg"].tolist()) <= set(ease.chosen_by.tolist())


def test_what_is_judged_is_what_would_be_served() -> None:
    """Of one weight an item the table is far from the whole, and it is the table that users get."""
    past, rows = past_and_rows(ease={"kept": 1}, heuristic={}, popularity={})
    users = np.arange(40)
    ease = make("ease", past.profile).fit(past)
    assert isinstance(ease, EASE)
    assert (np.diff(ease.table.related.indptr) <= 1).all()
    served = as_served(ease, past).score(users)
    assert served == pytest.approx(standard(ease.score(users)), abs=1e-3)
    judged = evaluate(as_served(ease, past), past, compare(past, rows).test, k=10)
    assert compare(past, rows).of("ease").per_user["ndcg"] == pytest.approx(judged.per_user["ndcg"])
    heuristic = make("heuristic", past.profile).fit(past)
    assert as_served(heuristic, past) is heuristic
    popular = PopularityRecommender().fit(past).vectors
    assert popular is not None
    assert (vectors_of(heuristic, past).bias == popular.bias).all()


@pytest.mark.parametrize("name", PROFILE.recommenders)
def test_two_fits_are_equal(name: str, dataset: Dataset) -> None:
    users = np.arange(20)
    one, other = (ZOO[name]().fit(dataset).score(users) for _ in range(2))
    assert (one == other).all()
    assert one.shape == (20, len(dataset.items))
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert ZOO[name]().fit(dataset).score(users[:0]).shape == (0, len(dataset.items))


def test_the_seed_and_the_loss_count(dataset: Dataset) -> None:
    catalogue, rows = clustered()

    def vectors(**lightfm: object) -> np.ndarray:
        model = LightFMHybrid().fit(dataset_of(catalogue, rows, profile=tuned(**lightfm)))
        assert model.vectors is not None
        return model.vectors.users

    assert (vectors(seed=1) == vectors(seed=1)).all()
    assert (vectors(seed=1) != vectors(seed=2)).any()
    for loss in ("warp", "logistic"):
        assert np.isfinite(vectors(loss=loss, epochs=2)).all()


def test_progress_is_told(dataset: Dataset) -> None:
    told: list[tuple[int, int]] = []
    LightFMHybrid().fit(dataset, progress=lambda done, total: told.append((done, total)))
    epochs = PROFILE.lightfm.epochs
    assert told == [(epoch + 1, epochs) for epoch in range(epochs)]


def test_one_user_gets_what_is_popular() -> None:
    catalogue = catalogue_of([{"id": "u"}], [{"id": "a"}, {"id": "b"}])
    data = dataset_of(catalogue, interactions_frame([("u", "a", "view", ago(days=1))]))
    scores = LightFMHybrid().fit(data).score(np.array([0]))
    assert scores == pytest.approx(PopularityRecommender().fit(data).score(np.array([0])))


def test_who_is_unknown_gets_what_is_popular(dataset: Dataset) -> None:
    """No history and no features: no vector, so no noise."""
    catalogue, rows = clustered()
    everybody = Catalogue(
        pl.concat([catalogue.users, catalogue_of([{"id": "new"}], []).users]),
        catalogue.items,
        catalogue.owners,
    )
    data = dataset_of(everybody, rows)
    new = np.array([data.users.find("new")])
    expected = PopularityRecommender().fit(data).score(new)
    assert LightFMHybrid().fit(data).score(new) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rows", [[], [("u", "a", "dismiss", ago(days=1))]])
def test_nobody_liked_anything(rows: list[Interaction]) -> None:
    catalogue = catalogue_of([{"id": "u"}], [{"id": "a"}])
    data = dataset_of(catalogue, interactions_frame(rows))
    with pytest.raises(ValueError, match="nothing to train on"):
        LightFMHybrid().fit(data)
    with pytest.raises(NothingToJudge, match="nobody likes anything"):
        compare(data, interactions_frame(rows).lazy())
    assert np.isfinite(Heuristic().fit(data).score(np.array([0]))).all()


def test_the_fingerprint_is_that_of_the_data() -> None:
    catalogue, rows = clustered()
    one, other = dataset_of(catalogue, rows), dataset_of(catalogue, rows.reverse())
    assert fingerprint(one.matrix) == fingerprint(other.matrix)
    assert fingerprint(one.matrix) != fingerprint(dataset_of(catalogue, rows.head(9)).matrix)
    assert isinstance(one.popularity, Popularity)
