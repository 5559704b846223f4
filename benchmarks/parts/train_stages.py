"""Every stage of training, in the order of the pipeline: run by ``benchmarks.train`` as a child."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from benchmarks.common.stages import fact, stage
from benchmarks.common.worlds import PROFILE, World
from models.catalogue.building import ModelInfo, build_snapshot
from models.catalogue.snapshots.snapshot import Snapshot
from models.data import features
from models.data.ids import IdIndex
from models.data.interactions import splits
from models.data.interactions.matrices import interaction_matrix
from models.data.similarities import top_neighbours
from models.evaluation.comparison import build_dataset
from models.evaluation.metrics import evaluation
from models.feed.lists import recommendation_lists
from models.ranking.learned import ranker_of
from models.recommenders import judging, zoo
from models.recommenders.base import Dataset
from models.recommenders.factorisation.lightfm_hybrid import LightFMHybrid
from models.recommenders.served import as_served

BRUTE_ROWS = 500  # rows that the brute force compares with all


def run(world: World, list_users: int, judged_users: int) -> None:
    """All stages. What one makes stays in memory for the next, as in the pipeline.

    Args:
        list_users: users to make lists for.
        judged_users: at most so many users are judged by.
    """
    profile, lake = PROFILE, world.lake
    with stage("read catalogue"):
        catalogue = world.catalogue()
        users, items = IdIndex.of(catalogue.users["id"]), IdIndex.of(catalogue.items["id"])
    with stage("interaction matrix"):
        matrix = interaction_matrix(lake.scan(), users, items, profile.interaction_weights)
    fact("pairs", matrix.values.nnz)
    k, share = profile.similarity.neighbours, profile.matrix.common_item_share
    with stage("user similarities"):
        user_neighbours = top_neighbours(matrix.liked, k, max_share=share)
    with stage("item similarities"):
        item_neighbours = top_neighbours(matrix.liked.T.tocsr(), k)
    _brute_force(matrix.liked, k)
    with stage("features"):
        user_features = features.user_features(catalogue.users, users)
        item_features = features.item_features(catalogue.items, items)
    made_from = catalogue, users, items, user_features, item_features, profile
    with stage("dataset, all"):
        whole = build_dataset(lake.scan(), *made_from, as_of=world.end)
    with stage("LightFM, all"):
        model = LightFMHybrid().fit(whole)
    with stage("dataset, past"):
        split = splits.split_moment(lake.scan(), profile.evaluation.test_share)
        past = build_dataset(lake.scan(), *made_from, as_of=split)
    _evaluate(past, world, judged_users)
    del past
    assert model.vectors is not None
    with stage("snapshot build"):
        made = build_snapshot(
            whole.catalogue,
            whole.matrix,
            profile,
            now=world.end,
            vectors=model.vectors,
            model=ModelInfo("1", model.name, world.end),
            user_neighbours=user_neighbours,
            item_neighbours=item_neighbours,
        )
    with tempfile.TemporaryDirectory() as name:
        with stage("snapshot save"):
            folder = made.save(Path(name) / "1")
        fact("snapshot bytes", sum(file.stat().st_size for file in folder.iterdir()))
        with stage("snapshot load"):
            loaded = Snapshot.load(folder)
        rows = np.random.default_rng(0).permutation(len(users))[:list_users]
        with stage("lists"):
            lists = recommendation_lists(
                loaded, profile, rows, now=world.end.timestamp(), ranker=ranker_of(loaded)
            )
        fact("list users", len(rows))
        fact("list rows", len(lists))


def _brute_force(liked: sparse.csr_array, k: int) -> None:
    """Scikit-learn's cosine neighbours of some users, extrapolated to all of them."""
    rows = min(BRUTE_ROWS, liked.shape[0])
    index = NearestNeighbors(n_neighbors=min(k, rows), metric="cosine", algorithm="brute")
    with stage("brute force"):
        index.fit(liked)
        started = time.perf_counter()
        index.kneighbors(liked[:rows])
    fact("brute force", (time.perf_counter() - started) * liked.shape[0] / rows)


def _evaluate(past: Dataset, world: World, judged_users: int) -> None:
    """As ``models.evaluation.comparison.compare`` does, each recommender timed."""
    rules = PROFILE.evaluation
    with stage("test set"):
        future = interaction_matrix(
            world.lake.scan().filter(pl.col("occurred_at") >= past.as_of),
            past.users,
            past.items,
            PROFILE.interaction_weights,
        )
        test = judging.test_set(
            past.matrix, future, heavy_user=rules.heavy_user, max_users=judged_users
        )
    fact("users judged", len(test.users))
    for name in PROFILE.recommenders:
        with stage(f"fit on the past, {name}"):
            fitted = as_served(zoo.make(name, PROFILE).fit(past), past)
        with stage(f"evaluate, {name}"):
            judged = evaluation.evaluate(fitted, past, test, k=rules.k)
        fact(f"ndcg {name}", judged.metrics[f"ndcg@{rules.k}"])
        fact(f"coverage {name}", judged.metrics["coverage"])


if __name__ == "__main__":
    run(World(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
