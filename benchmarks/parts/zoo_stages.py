"""One recommender, or the library beneath it, trained in a process of its own: run by
``benchmarks.zoo`` as a child. The library's call gets its matrix ready-made, outside the time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import bm25_weight
from lightfm import LightFM as LightFMLibrary
from numpy.typing import NDArray
from scipy import linalg, sparse
from sklearn.decomposition import NMF as NMFLibrary
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize
from sparse_dot_topn import sp_matmul_topn

from benchmarks.common.stages import fact, stage
from benchmarks.common.worlds import PROFILE, World
from models.data import features
from models.data.ids import IdIndex
from models.data.similarities import top_neighbours
from models.evaluation.comparison import build_dataset
from models.profile.recommender_settings import ItemKNNSettings
from models.profile.training_sections import LightFMSettings
from models.recommenders.base import Dataset, Recommender
from models.recommenders.factorisation.als import ALSSettings
from models.recommenders.factorisation.bpr import BPRSettings
from models.recommenders.factorisation.lightfm import LightFM, LightFMAloneSettings
from models.recommenders.factorisation.nmf import NMFSettings
from models.recommenders.judging import BLOCK_SCORES
from models.recommenders.neighbours.ease import EASESettings
from models.recommenders.neighbours.knn import KNNSettings
from models.recommenders.zoo import ZOO

PREPARE, FIT, SCORE = "prepare", "train", "score"
EPOCHS = 10
"""Of LightFM alone: without the window that stops it, which a bare call does not have."""
NEIGHBOURS, SAMPLE = 50, 300

Scoring = Callable[[NDArray[np.integer]], NDArray]
Training = Callable[[], Scoring]


def run(world: World, name: str, maker: str, scored_users: int) -> None:
    """Train, then score ``scored_users`` of the users, in blocks."""
    with stage(PREPARE):
        dataset = _dataset(world)
        _ = dataset.matrix.liked  # counted once, for all recommenders of a training
        train = BARE[name](dataset) if maker == "library" else _ours(name, dataset)
    with stage(FIT):
        score = train()
    users = np.random.default_rng(0).permutation(len(dataset.users))[:scored_users]
    block = max(1, BLOCK_SCORES // len(dataset.items))
    with stage(SCORE):
        for start in range(0, len(users), block):
            score(users[start : start + block])


def _dataset(world: World) -> Dataset:
    catalogue = world.catalogue()
    users, items = IdIndex.of(catalogue.users["id"]), IdIndex.of(catalogue.items["id"])
    return build_dataset(
        world.lake.scan(),
        catalogue,
        users,
        items,
        features.user_features(catalogue.users, users),
        features.item_features(catalogue.items, items),
        PROFILE,
        as_of=world.end,
    )


def _ours(name: str, dataset: Dataset) -> Training:
    def train() -> Scoring:
        made: Recommender = ZOO[name]()
        if name == LightFM.name:
            made = LightFM(LightFMAloneSettings(epochs=EPOCHS, patience=None))
        return made.fit(dataset).score

    return train


def _pairs(dataset: Dataset) -> sparse.csr_matrix:
    liked = dataset.matrix.liked
    ones = np.ones(liked.nnz, np.float32)
    return sparse.csr_matrix((ones, liked.indices, liked.indptr), shape=liked.shape)


def _product(users: np.ndarray, items: np.ndarray) -> Scoring:
    return lambda rows: users[rows] @ items.T


def _lightfm_model(of: LightFMSettings | LightFMAloneSettings) -> LightFMLibrary:
    return LightFMLibrary(
        no_components=of.dims,
        loss=of.loss,
        learning_rate=of.learning_rate,
        max_sampled=of.max_sampled,
        random_state=of.seed,
    )


def _lightfm(dataset: Dataset) -> Training:
    pairs, of = _pairs(dataset).tocoo(), LightFMAloneSettings()

    def train() -> Scoring:
        model = _lightfm_model(of)
        model.fit(pairs, epochs=EPOCHS, num_threads=1)
        return _product(model.user_embeddings, model.item_embeddings)

    return train


def _lightfm_hybrid(dataset: Dataset) -> Training:
    """Every user and item with an indicator and its features, as the library's guide has it."""
    of, liked = PROFILE.lightfm, sparse.coo_matrix(dataset.matrix.liked)
    pairs = sparse.coo_matrix((np.ones(liked.nnz, np.float32), (liked.row, liked.col)), liked.shape)
    users, items = (
        _indicators(side.values) for side in (dataset.user_features, dataset.item_features)
    )

    def train() -> Scoring:
        model = _lightfm_model(of)
        model.fit(
            pairs,
            user_features=users,
            item_features=items,
            sample_weight=liked,
            epochs=of.epochs,
            num_threads=1,
        )
        return _product(users @ model.user_embeddings, items @ model.item_embeddings)

    return train


def _indicators(values: sparse.csr_array) -> sparse.csr_matrix:
    """Of the rows, and of their features. The library reads 32-bit indices only."""
    parts = [sparse.eye_array(values.shape[0], format="csr"), values > 0]
    made = sparse.csr_matrix(sparse.hstack(parts, format="csr"), dtype=np.float32)
    made.indices, made.indptr = made.indices.astype(np.int32), made.indptr.astype(np.int32)
    return made


def _als(dataset: Dataset) -> Training:
    pairs, of = _pairs(dataset), ALSSettings()

    def train() -> Scoring:
        model = AlternatingLeastSquares(
            factors=of.dims,
            regularization=of.ridge,
            alpha=of.confidence,
            iterations=of.iterations,
            num_threads=1,
            random_state=of.seed,
        )
        model.fit(pairs, show_progress=False)
        return _product(model.user_factors, model.item_factors)

    return train


def _bpr(dataset: Dataset) -> Training:
    pairs, of = _pairs(dataset), BPRSettings()

    def train() -> Scoring:
        model = BayesianPersonalizedRanking(
            factors=of.dims,
            learning_rate=of.learning_rate,
            regularization=of.ridge,
            iterations=of.iterations,
            num_threads=1,
            random_state=of.seed,
        )
        model.fit(pairs, show_progress=False)
        return _product(model.user_factors, model.item_factors)

    return train


def _nmf(dataset: Dataset) -> Training:
    pairs, of = sparse.csr_matrix(dataset.matrix.liked), NMFSettings()

    def train() -> Scoring:
        model = NMFLibrary(
            of.dims,
            init="random",
            max_iter=of.iterations,
            tol=0,
            alpha_W=of.ridge / pairs.shape[1],
            alpha_H=of.ridge / pairs.shape[0],
            random_state=of.seed,
        )
        return _product(model.fit_transform(pairs), model.components_.T)

    return train


def _ease(dataset: Dataset) -> Training:
    """As published, in 32 bits, of the most used items."""
    pairs, of = _pairs(dataset), EASESettings()
    counts = np.bincount(pairs.indices, minlength=pairs.shape[1])
    pairs = pairs[:, np.argsort(-counts, kind="stable")[: of.dense_items]]

    def train() -> Scoring:
        gram = (pairs.T @ pairs).toarray()
        gram[np.diag_indices_from(gram)] += of.ridge
        weights = linalg.inv(gram, assume_a="pos")
        weights = weights / -np.diag(weights)
        np.fill_diagonal(weights, 0)
        return lambda rows: pairs[rows] @ weights

    return train


def _neighbours(unit: sparse.csr_matrix, of: KNNSettings) -> sparse.csr_matrix:
    """Of rows of length 1."""
    return sp_matmul_topn(
        unit, sparse.csr_matrix(unit.T), top_n=of.neighbours + 1, sort=True, n_threads=1
    )


def _item_knn(dataset: Dataset) -> Training:
    pairs = _pairs(dataset)

    def train() -> Scoring:
        unit = normalize(bm25_weight(pairs.T, K1=1.2, B=0.75).tocsr())
        similar = _neighbours(unit, ItemKNNSettings()).T.tocsr()
        return lambda rows: (pairs[rows] @ similar).toarray()

    return train


def _user_knn(dataset: Dataset) -> Training:
    pairs = _pairs(dataset)

    def train() -> Scoring:
        similar = _neighbours(TfidfTransformer().fit_transform(pairs), KNNSettings())
        return lambda rows: (similar[rows] @ pairs).toarray()

    return train


BARE: dict[str, Callable[[Dataset], Training]] = {
    "lightfm_hybrid": _lightfm_hybrid,
    "lightfm": _lightfm,
    "als": _als,
    "bpr": _bpr,
    "nmf": _nmf,
    "ease": _ease,
    "item_knn": _item_knn,
    "user_knn": _user_knn,
}


def similarities(users: int, items: int, pairs: int) -> None:
    """Top neighbours of all users, and by dense products those of some.

    Items that very many touched are left out, as in the pipeline.
    """
    share = PROFILE.matrix.common_item_share
    with stage(PREPARE):
        matrix = _skewed(users, items, pairs)
    with stage("similarities"):
        near = top_neighbours(matrix, NEIGHBOURS, max_share=share, threads=1)
    sample = np.random.default_rng(1).permutation(users)[:SAMPLE]
    counts = np.bincount(matrix.indices, minlength=items)
    unit = normalize(matrix[:, np.flatnonzero(counts <= max(share * users, 10))])
    with stage("brute force"):
        started = time.perf_counter()
        cosines = (unit[sample] @ unit.T).toarray()
        cosines[np.arange(len(sample)), sample] = 0
        best = -np.sort(np.partition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS], axis=1)
    fact("brute force", (time.perf_counter() - started) * users / len(sample))
    # Of neighbours that are level either may be named: their cosines are compared.
    fact("exact", np.isclose(near.scores[sample], best, atol=1e-5).mean())


def _skewed(users: int, items: int, pairs: int) -> sparse.csr_array:
    """Items as popular as the harmonic series, users of 200 tastes. float32 CSR."""
    rng = np.random.default_rng(0)
    row = np.repeat(np.arange(users), pairs // users)
    rank = np.exp(rng.random(len(row)) * np.log(items)).astype(np.int64) - 1
    own = rng.random(len(row)) < 0.7
    column = (rank + own * (row % 200) * (items // 200)) % items
    return sparse.csr_array((np.ones(len(row), np.float32), (row, column)), shape=(users, items))


if __name__ == "__main__":
    if sys.argv[1] == "similarities":
        similarities(*(int(number) for number in sys.argv[2:]))
    else:
        run(World(Path(sys.argv[1])), sys.argv[2], sys.argv[3], int(sys.argv[4]))
