"""Every stage of training, in the order of the pipeline: run by ``benchmarks.train`` as a child.

Prints a JSON line when a stage begins, ``{"begin": name}``, and one when it ends, ``{"end": name,
"seconds": …, "cpu": …}``, so that the parent can put the memory that it sees down to a stage; and
``{"fact": name, "value": …}`` for what the stages found.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from benchmarks.common.worlds import PROFILE, World
from models.catalogue.building import ModelInfo, build_snapshot
from models.catalogue.snapshot import Snapshot
from models.data import features, splits
from models.data.ids import IdIndex
from models.data.matrices import interaction_matrix
from models.data.similarities import top_neighbours
from models.evaluation import metrics as evaluation
from models.evaluation.comparison import build_dataset
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
    with _stage("read catalogue"):
        catalogue = world.catalogue()
        users, items = IdIndex.of(catalogue.users["id"]), IdIndex.of(catalogue.items["id"])
    with _stage("interaction matrix"):
        matrix = interaction_matrix(lake.scan(), users, items, profile.interaction_weights)
    _fact("pairs", matrix.values.nnz)
    k, share = profile.similarity.neighbours, profile.matrix.common_item_share
    with _stage("user similarities"):
        user_neighbours = top_neighbours(matrix.liked, k, max_share=share)
    with _stage("item similarities"):
        item_neighbours = top_neighbours(matrix.liked.T.tocsr(), k)
    _brute_force(matrix.liked, k)
    with _stage("features"):
        user_features = features.user_features(catalogue.users, users)
        item_features = features.item_features(catalogue.items, items)
    known = catalogue, users, items, user_features, item_features, profile
    with _stage("dataset, all"):
        whole = build_dataset(lake.scan(), *known, as_of=world.end)
    with _stage("LightFM, all"):
        model = LightFMHybrid().fit(whole)
    with _stage("dataset, past"):
        split = splits.split_moment(lake.scan(), profile.evaluation.test_share)
        past = build_dataset(lake.scan(), *known, as_of=split)
    _evaluate(past, world, judged_users)
    del past
    assert model.vectors is not None
    with _stage("snapshot build"):
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
        with _stage("snapshot save"):
            folder = made.save(Path(name) / "1")
        _fact("snapshot bytes", sum(file.stat().st_size for file in folder.iterdir()))
        with _stage("snapshot load"):
            loaded = Snapshot.load(folder)
        rows = np.random.default_rng(0).permutation(len(users))[:list_users]
        with _stage("lists"):
            lists = recommendation_lists(
                loaded, profile, rows, now=world.end.timestamp(), ranker=ranker_of(loaded)
            )
        _fact("list users", len(rows))
        _fact("list rows", len(lists))


def _brute_force(liked: sparse.csr_array, k: int) -> None:
    """Scikit-learn's cosine neighbours of some users, extrapolated to all of them."""
    rows = min(BRUTE_ROWS, liked.shape[0])
    index = NearestNeighbors(n_neighbors=min(k, rows), metric="cosine", algorithm="brute")
    with _stage("brute force"):
        index.fit(liked)
        started = time.perf_counter()
        index.kneighbors(liked[:rows])
    _fact("brute force", (time.perf_counter() - started) * liked.shape[0] / rows)


def _evaluate(past: Dataset, world: World, judged_users: int) -> None:
    """As ``models.evaluation.comparison.compare`` does, each recommender timed."""
    rules = PROFILE.evaluation
    with _stage("test set"):
        future = interaction_matrix(
            world.lake.scan().filter(pl.col("occurred_at") >= past.as_of),
            past.users,
            past.items,
            PROFILE.interaction_weights,
        )
        test = judging.test_set(
            past.matrix, future, heavy_user=rules.heavy_user, max_users=judged_users
        )
    _fact("users judged", len(test.users))
    for name in PROFILE.recommenders:
        with _stage(f"fit on the past, {name}"):
            fitted = as_served(zoo.make(name, PROFILE).fit(past))
        with _stage(f"evaluate, {name}"):
            judged = evaluation.evaluate(fitted, past, test, k=rules.k)
        _fact(f"ndcg {name}", judged.metrics[f"ndcg@{rules.k}"])
        _fact(f"coverage {name}", judged.metrics["coverage"])


@contextmanager
def _stage(name: str) -> Iterator[None]:
    _tell({"begin": name})
    cpu, started = time.process_time(), time.perf_counter()
    yield
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    _tell({"end": name, "seconds": seconds, "cpu": cpu})


def _fact(name: str, value: float) -> None:
    _tell({"fact": name, "value": float(value)})


def _tell(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    run(World(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
