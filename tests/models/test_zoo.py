"""What holds of every recommender, and each by its formula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from scipy import sparse
from sklearn.metrics.pairwise import cosine_similarity

from models.data.features import Features
from models.data.ids import IdIndex
from models.data.interactions.matrices import InteractionMatrix
from models.data.interactions.popularity import Popularity
from models.profile.recommender_settings import SETTINGS, BySection, PureSVDSettings
from models.profile.schema import Profile
from models.recommenders.base import Dataset, Recommender, Validation
from models.recommenders.factorisation.als import ALS
from models.recommenders.factorisation.bpr import BPR, BPRSettings
from models.recommenders.factorisation.factorised import Factorised
from models.recommenders.factorisation.lightfm import LightFM, LightFMAloneSettings
from models.recommenders.factorisation.lightfm_hybrid import LightFMHybrid
from models.recommenders.factorisation.nmf import NMF
from models.recommenders.factorisation.pure_svd import PureSVD
from models.recommenders.files import MANIFEST, RecommenderFileError
from models.recommenders.neighbours.ease import EASE, EASESettings
from models.recommenders.neighbours.graph_filter import GraphFilter
from models.recommenders.neighbours.knn import ItemKNN, KNNSettings, Terms, UserKNN
from models.recommenders.served import as_served
from models.recommenders.serving import standard
from models.recommenders.validation import with_validation
from models.recommenders.zoo import ZOO, make
from tests.models.worlds import NOW, PROFILE, ago, catalogue_of, dataset_of, interactions_frame

ALL = list(ZOO)
LEARN = [name for name in ALL if name not in ("popularity", "heuristic", "groups")]
BY_POPULARITY = ["als", "nmf", "ease", "item_knn", "user_knn", "popularity"]
SLOW = ("lightfm", "lightfm_hybrid", "blend")
NEED_MORE = {
    "pure_svd": "nothing to train on",
    "blend": "no user likes",
    "transitions": "tell no order",
    "linear_transitions": "tell no order",
    "session_ease": "tell no order",
    "content": "no tags",
    "groups": "tell too little",
}
"""What the smallest worlds lack for them."""
TASTES, USERS, ITEMS = 4, 80, 48
HERMIT, UNTOUCHED = USERS, ITEMS  # the last user and the last item of the world


def world_of(values: np.ndarray) -> Dataset:
    """A dataset of this matrix of users by items, and nothing else."""
    matrix = sparse.csr_array(values.astype(np.float32))
    users, items = (IdIndex.of([f"{n:03}" for n in range(count)]) for count in matrix.shape)
    counts = np.maximum(values, 0).sum(axis=0, dtype=float)
    share = counts / counts.mean() if counts.any() else counts

    def of_taste(rows: int) -> Features:
        place = np.arange(rows)
        found = sparse.csr_array((np.ones(rows, np.float32), (place, place % TASTES)))
        return Features([f"category:{taste}" for taste in range(found.shape[1])], found)

    return Dataset(
        InteractionMatrix(
            users, items, matrix, sparse.csr_array(np.zeros_like(values, np.float32))
        ),
        Popularity(share, share),
        of_taste(len(users)),
        of_taste(len(items)),
        catalogue_of(
            [{"id": user} for user in users.to_list()],
            [
                {"id": item, "category": str(place % TASTES)}
                for place, item in enumerate(items.to_list())
            ],
        ),
        PROFILE,
        NOW,
        times=_in_order(matrix),
    )


def _in_order(matrix: sparse.csr_array) -> sparse.csr_array:
    """Each pair at its own moment."""
    moments = 1.0 + np.random.default_rng(0).permutation(matrix.nnz)
    return sparse.csr_array((moments, matrix.indices, matrix.indptr), shape=matrix.shape)


def tastes(seed: int = 0) -> np.ndarray:
    """Each user likes 7 of the 12 items of one of four tastes, and one more; the last user has
    no history, the last item no users."""
    rng = np.random.default_rng(seed)
    values = np.zeros((USERS + 1, ITEMS + 1))
    for user in range(USERS):
        values[user, user % TASTES + TASTES * rng.permutation(ITEMS // TASTES)[:7]] = 3
        values[user, rng.integers(ITEMS)] = 1
    return values


@pytest.fixture(scope="module")
def data() -> Dataset:
    return world_of(tastes())


@pytest.fixture(scope="module")
def fitted(data: Dataset) -> dict[str, Recommender]:
    return {name: kind().fit(data) for name, kind in ZOO.items()}


def unseen(data: Dataset) -> np.ndarray:
    return data.matrix.values.toarray() == 0


@pytest.mark.parametrize("name", ALL)
def test_scores(fitted: dict[str, Recommender], data: Dataset, name: str) -> None:
    users = np.array([3, 0, HERMIT, 3])
    scores = fitted[name].score(users)
    assert fitted[name].name == name
    assert scores.shape == (4, ITEMS + 1)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert (scores[0] == scores[3]).all()
    assert fitted[name].score(users[:0]).shape == (0, ITEMS + 1)


@pytest.mark.parametrize("name", [*LEARN, "heuristic"])
def test_tastes_are_learnt(fitted: dict[str, Recommender], data: Dataset, name: str) -> None:
    """Of those of the own taste, and of one that came later with four likes."""
    model = fitted[name]
    if name == "bpr":  # its defaults learn too slowly for so little data
        model = BPR(BPRSettings(dims=8, learning_rate=0.05)).fit(data)
    scores = np.where(unseen(data), model.score(np.arange(USERS + 1)), -np.inf)[:USERS]
    best = np.argsort(-scores, axis=1)[:, :3]
    assert (best % TASTES == np.arange(USERS)[:, None] % TASTES).mean() > 0.7
    for taste in range(TASTES):
        likes = np.zeros((1, ITEMS + 1), np.float32)
        likes[0, taste : taste + TASTES * 4 : TASTES] = np.log1p(3)
        row = model.fold_in(sparse.csr_array(likes))[0]
        best = np.argsort(-np.where(likes[0] == 0, row, -np.inf))[:3]
        assert (best % TASTES == taste).sum() >= 2


@pytest.mark.parametrize("name", ALL)
def test_the_same_again(fitted: dict[str, Recommender], data: Dataset, name: str) -> None:
    users = np.arange(USERS + 1)
    assert (ZOO[name]().fit(data).score(users) == fitted[name].score(users)).all()


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded(
    fitted: dict[str, Recommender], data: Dataset, tmp_path: Path, name: str
) -> None:
    users, liked = np.arange(USERS + 1), data.matrix.liked[5:9]
    fitted[name].save(tmp_path / "kept")
    loaded = ZOO[name].load(tmp_path / "kept")
    loaded.save(tmp_path / "kept")  # over what it is read from
    assert (loaded.score(users) == fitted[name].score(users)).all()
    assert loaded.fold_in(liked) == pytest.approx(fitted[name].fold_in(liked), abs=1e-6)
    one, other = fitted[name].vectors, loaded.vectors
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert other.items == pytest.approx(one.items, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_recommender_does_not_load(
    fitted: dict[str, Recommender], tmp_path: Path, name: str
) -> None:
    with pytest.raises(RecommenderFileError):
        ZOO[name].load(tmp_path)
    if name != "heuristic":
        folder = tmp_path / "other"
        fitted["popularity" if name != "popularity" else "ease"].save(folder)
        with pytest.raises(RecommenderFileError, match=f"not {name} in format"):
            ZOO[name].load(folder)
        (folder / MANIFEST).write_text("[]")
        with pytest.raises(RecommenderFileError, match="does not load"):
            ZOO[name].load(folder)


@pytest.mark.parametrize("name", ["als", "nmf", "ease", "item_knn", "popularity"])
def test_who_is_folded_in_scores_as_who_was_trained_on(
    fitted: dict[str, Recommender], data: Dataset, name: str
) -> None:
    """The item-item models exactly, factorisations nearly, with the items as they are."""
    known = fitted[name].score(np.arange(USERS + 1))
    again = fitted[name].fold_in(data.matrix.liked)
    assert known.shape == again.shape
    if name in ("als", "nmf"):
        likeness = [np.corrcoef(a, b)[0, 1] for a, b in zip(known, again, strict=True)]
        assert min(likeness) > 0.95
    else:
        assert again == pytest.approx(known, abs=1e-6)


def test_user_neighbours_of_who_is_folded_in(data: Dataset) -> None:
    """The twin that was trained on likes only what is seen; all others count the same."""
    model = UserKNN(KNNSettings(neighbours=USERS + 5)).fit(data)
    known, again = model.score(np.arange(USERS + 1)), model.fold_in(data.matrix.liked)
    assert again[unseen(data)] == pytest.approx(known[unseen(data)], abs=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_without_history(fitted: dict[str, Recommender], data: Dataset, name: str) -> None:
    nobody = sparse.csr_array(np.zeros((2, ITEMS + 1), np.float32))
    folded = fitted[name].fold_in(nobody)
    assert folded.shape == (2, ITEMS + 1)
    assert folded.dtype == np.float32
    assert np.isfinite(folded).all()
    assert fitted[name].fold_in(nobody[:0]).shape == (0, ITEMS + 1)
    if name in BY_POPULARITY:
        popular = data.popularity.overall
        for scores in (folded[0], fitted[name].score(np.array([HERMIT]))[0]):
            assert (np.diff(popular[np.argsort(-scores, kind="stable")]) <= 1e-9).all()


@pytest.mark.parametrize("name", ALL)
def test_what_serves_ranks_as_the_scores(
    fitted: dict[str, Recommender], data: Dataset, name: str
) -> None:
    """In a world as small as this a table holds everything."""
    vectors, users, new = fitted[name].vectors, np.arange(USERS), unseen(data)[:USERS]
    if vectors is None:
        assert name == "heuristic"
        return
    served, scores = as_served(fitted[name], data).score(users), fitted[name].score(users)
    if vectors.tables and name != "blend":
        scores = standard(scores)
    assert served[new] == pytest.approx(scores[new], abs=1e-4 * float(np.abs(served).max()))
    assert {part.dtype for part in vectors.arrays().values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", [*LEARN])
def test_progress_and_cancelling(data: Dataset, name: str) -> None:
    told: list[tuple[int, int]] = []
    ZOO[name]().fit(data, progress=lambda done, total: told.append((done, total)))
    shares = [done / total for done, total in told]
    assert len(shares) >= 4
    assert shares == sorted(shares)
    assert shares[-1] == 1

    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        ZOO[name]().fit(data, progress=cancel)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "values", [[[1]], [[1, 1, 0]], [[2], [1], [0]], [[1, 0], [0, 0]], [[1, -5], [-1, 3]]]
)
def test_the_smallest_worlds(name: str, values: list[list[float]]) -> None:
    data = world_of(np.array(values))
    try:
        model = ZOO[name]().fit(data)
    except ValueError as error:
        if NEED_MORE.get(name, "nothing") not in str(error):
            raise
        return
    shape = data.matrix.values.shape
    for scores in (model.score(np.arange(shape[0])), model.fold_in(data.matrix.liked)):
        assert scores.shape == shape
        assert np.isfinite(scores).all()
    vectors = model.vectors
    if vectors is not None:
        assert all(np.isfinite(part).all() for part in vectors.arrays().values())


@pytest.mark.parametrize("name", ALL)
def test_nobody_liked_anything(name: str) -> None:
    """What factorises says so, the others go by what is popular."""
    data = world_of(np.array([[0, -1], [0, 0]]))
    if issubclass(ZOO[name], Factorised) or name == "lightfm_hybrid":
        with pytest.raises(ValueError, match="nothing to train on"):
            ZOO[name]().fit(data)
    elif name in NEED_MORE:
        with pytest.raises(ValueError, match=NEED_MORE[name]):
            ZOO[name]().fit(data)
    else:
        assert np.isfinite(ZOO[name]().fit(data).score(np.arange(2))).all()


matrices = arrays(
    np.float32,
    st.tuples(st.integers(1, 7), st.integers(1, 6)),
    elements=st.sampled_from([0, 0, 0, -1, 1, 2, 40]),
)


@pytest.mark.parametrize(
    "name", [name for name in LEARN if "lightfm" not in name and name != "blend"]
)
@given(values=matrices)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_small_matrix(name: str, values: np.ndarray) -> None:
    data = world_of(values)
    if not (values > 0).any():
        return
    try:
        model = ZOO[name]().fit(data)
    except ValueError as error:
        if NEED_MORE.get(name, "nothing") not in str(error):
            raise
        return
    for scores in (model.score(np.arange(len(values))), model.fold_in(data.matrix.liked)):
        assert scores.shape == values.shape
        assert np.isfinite(scores).all()


def test_graph_filter_by_its_formula() -> None:
    values = (np.random.default_rng(2).random((30, 12)) < 0.3).astype(float)
    data = world_of(values)
    of_users, of_items = values.sum(axis=1), values.sum(axis=0)
    scaled = values / np.sqrt(np.maximum(of_users, 1))[:, None] / np.sqrt(np.maximum(of_items, 1))
    weights = scaled.T @ scaled
    np.fill_diagonal(weights, 0)
    found = GraphFilter().fit(data).score(np.arange(30))
    np.testing.assert_allclose(found, values @ weights, atol=1e-4)


def test_pure_svd_by_its_formula() -> None:
    values = (np.random.default_rng(2).random((200, 100)) < 0.3).astype(float)
    data = world_of(values)
    of_users, of_items = values.sum(axis=1), np.maximum(values.sum(axis=0), 1)
    scaled = values / np.sqrt(np.maximum(of_users, 1))[:, None] / np.sqrt(of_items)
    vectors = np.linalg.svd(scaled)[2][:5].T
    wanted = (values / np.sqrt(of_items)) @ vectors @ vectors.T * np.sqrt(of_items)
    found = PureSVD(PureSVDSettings(dims=5, iterations=20)).fit(data).score(np.arange(200))
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def weights_by_hand(rows: np.ndarray, weighting: str) -> np.ndarray:
    n, having = len(rows), (rows > 0).sum(axis=0)
    if weighting == "tfidf":
        return rows * (np.log((n + 1) / (having + 1)) + 1)
    if weighting == "bm25":
        lengths = rows.sum(axis=1, keepdims=True)
        norm = 1.2 * (0.25 + 0.75 * lengths / lengths.mean())
        return rows * 2.2 / (rows + norm) * np.log(1 + (n - having + 0.5) / (having + 0.5))
    return rows


def nearest_by_hand(rows: np.ndarray, weighting: str, k: int) -> np.ndarray:
    similar = cosine_similarity(weights_by_hand(rows, weighting))
    np.fill_diagonal(similar, 0)
    return np.where(similar >= np.sort(similar, axis=1)[:, [-k]], similar, 0)


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
def test_neighbours_as_brute_force(rng: np.random.Generator, weighting: Any) -> None:
    values = rng.random((60, 40)) * 5 * (rng.random((60, 40)) < 0.3)
    data = world_of(values)
    rows, users = data.matrix.liked.toarray(), np.arange(60)
    of = KNNSettings(neighbours=7, weighting=weighting, weighted=True)
    by_users = nearest_by_hand(rows, weighting, 7) @ rows
    assert UserKNN(of).fit(data).score(users) == pytest.approx(by_users, abs=1e-4)
    by_items = rows @ nearest_by_hand(rows.T, weighting, 7).T
    assert ItemKNN(of).fit(data).score(users) == pytest.approx(by_items, abs=1e-4)


def test_twins_are_neighbours_and_nobody_of_himself() -> None:
    model = UserKNN(KNNSettings(neighbours=3)).fit(world_of(np.ones((9, 2))))
    assert (np.diff(model._similar.indptr) == 3).all()
    assert model._similar.diagonal().tolist() == [0] * 9
    assert model.score(np.arange(9)) == pytest.approx(3, abs=1e-5)


def test_what_nearly_all_touched_tells_nothing() -> None:
    values = np.zeros((40, 3))
    values[:30, 0] = values[:2, 1] = values[2:4, 2] = 1
    rows = world_of(values).matrix.liked
    terms = Terms.of(rows, KNNSettings(weighting="cosine", common_share=0.5))
    assert (terms.weighted(rows).toarray() > 0).sum(axis=0).tolist() == [0, 2, 2]
    assert rows.nnz == 34


def ease_by_hand(rows: np.ndarray, ridge: float) -> np.ndarray:
    inverse = np.linalg.inv(rows.T @ rows + ridge * np.eye(rows.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return rows @ weights


@pytest.mark.parametrize("ridge", [0.5, 20.0])
def test_ease_as_the_formula(rng: np.random.Generator, ridge: float) -> None:
    data = world_of((rng.random((70, 30)) < 0.2) * 2.0)
    model = EASE(EASESettings(ridge=ridge)).fit(data)
    expected = ease_by_hand((data.matrix.liked.toarray() > 0).astype(float), ridge)
    assert model.score(np.arange(70)) == pytest.approx(expected, abs=1e-4)


def test_ease_of_a_large_catalogue_is_that_of_its_most_used_items(rng: np.random.Generator) -> None:
    rows = (rng.random((70, 30)) < np.linspace(0.05, 0.4, 30)) * 2.0
    model = EASE(EASESettings(ridge=5.0, dense_items=12)).fit(world_of(rows))
    counts = (rows > 0).sum(axis=0)
    used = np.sort(np.argsort(-counts, kind="stable")[:12])
    expected = np.zeros((70, 30))
    expected[:, used] = ease_by_hand((rows[:, used] > 0).astype(float), 5.0)
    scores = model.score(np.arange(70))
    assert scores == pytest.approx(expected, abs=1e-3)


def test_of_weights_the_strongest_are_kept(data: Dataset) -> None:
    whole = EASE(EASESettings(ridge=5.0)).fit(data)
    cut = EASE(EASESettings(ridge=5.0, kept=7)).fit(data)
    weights = whole.table.related.to_csr(ITEMS + 1).toarray()
    kept = cut.table.related.to_csr(ITEMS + 1).toarray()
    assert ((kept != 0).sum(axis=1) <= 7).all()
    least = -np.sort(-np.abs(weights), axis=1)[:, 7:8]
    assert (kept == np.where(np.abs(weights) > least, weights, 0)).all()


def test_a_second_training_leaves_nothing_of_the_first(data: Dataset) -> None:
    other = world_of(tastes(1)[:, :-3])
    for kind in (EASE, ItemKNN, UserKNN):
        model = kind().fit(data)
        assert model.vectors is not None
        model.fold_in(data.matrix.liked)
        fresh, again = kind().fit(other), model.fit(other)
        assert again.vectors is not None
        assert fresh.vectors is not None
        users = np.arange(len(other.users))
        assert (as_served(again, other).score(users) == as_served(fresh, other).score(users)).all()
        liked = other.matrix.liked
        assert (again.fold_in(liked) == fresh.fold_in(liked)).all()


def test_lightfm_stops_before_it_forgets() -> None:
    """In noise nothing can be learnt, so that more epochs only do harm."""
    rng = np.random.default_rng(0)
    values = (rng.random((120, 60)) < np.linspace(0.6, 0.02, 60)) * 1.0
    model = LightFM().fit(world_of(values))
    assert model.epochs < LightFMAloneSettings().epochs
    all_of_them = LightFM(LightFMAloneSettings(patience=None, epochs=3)).fit(world_of(values))
    assert all_of_them.epochs == 3


def test_the_hybrid_stops_before_it_forgets() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random((120, 60)) < np.linspace(0.6, 0.02, 60)) * 1.0
    told: list[tuple[int, int]] = []
    model = LightFMHybrid().fit(
        hybrid_world(values, epochs=40, patience=3), progress=lambda *step: told.append(step)
    )
    assert 0 < model.epochs < 40
    assert told[-1] == (40 + model.epochs, 40 + model.epochs)
    alone = LightFMHybrid().fit(hybrid_world(values, epochs=model.epochs))
    users = np.arange(120)
    assert (model.score(users) == alone.score(users)).all()  # on all data, for the best epochs
    assert alone.epochs == model.epochs


def hybrid_world(values: np.ndarray, **lightfm: object) -> Dataset:
    profile = Profile.model_validate(PROFILE.model_dump() | {"lightfm": lightfm})
    return replace(world_of(values), profile=profile)


def test_the_hybrids_window_is_told_apart_where_it_is_wanted() -> None:
    catalogue = catalogue_of([{"id": "u"}, {"id": "v"}], [{"id": f"i{n}"} for n in range(10)])
    rows = interactions_frame([("u", f"i{n}", "apply", ago(days=20 - n)) for n in range(10)])
    for patience, window in ((None, False), (2, True)):
        content = PROFILE.model_dump() | {
            "recommenders": {"lightfm_hybrid": {}},
            "lightfm": {"patience": patience, "window": 0.3},
        }
        data = dataset_of(catalogue, rows, profile=Profile.model_validate(content))
        assert (data.validation is not None) == window
    assert data.validation is not None
    assert data.validation.popularity is not None
    assert (data.validation.popularity.overall[7:] == 0).all()  # nobody had touched them yet


def test_the_window_is_the_newest_part() -> None:
    catalogue = catalogue_of([{"id": "u"}, {"id": "v"}], [{"id": f"i{n}"} for n in range(10)])
    rows = interactions_frame([("u", f"i{n}", "apply", ago(days=20 - n)) for n in range(10)])
    data = with_validation(dataset_of(catalogue, rows, as_of=ago(days=11)), rows.lazy(), 0.3)
    window = data.validation
    assert isinstance(window, Validation)
    assert window.earlier.indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert window.later.indices.tolist() == [6, 7, 8]
    assert (window.earlier + window.later - data.matrix.liked).nnz == 0


def test_the_profile_makes_them() -> None:
    assert [kind.name for kind in ZOO.values()] == list(ZOO) == list(SETTINGS)
    chosen: dict[str, dict] = {name: {} for name in ZOO}
    chosen |= {"als": {"dims": 3}, "item_knn": {"neighbours": 7}}
    profile = Profile.model_validate(PROFILE.model_dump() | {"recommenders": chosen})
    for name, kind in ZOO.items():
        made = make(name, profile)
        assert type(made) is kind
        of = getattr(made, "settings", None)
        assert (of is None) == (SETTINGS[name] is BySection)
        assert of is None or of == profile.recommenders[name]
    assert make("bpr", PROFILE).settings == BPRSettings()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no recommender 'svd'; there are lightfm_hybrid, "):
        make("svd", PROFILE)


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ValidationError, match="neighbours"):
        KNNSettings(neighbours=0)
    with pytest.raises(ValidationError, match="dims"):
        NMF(NMF.settings_class(dims=51))
    with pytest.raises(ValidationError, match="factors"):
        ALS(ALS.settings_class(factors=5))  # type: ignore[call-arg]
