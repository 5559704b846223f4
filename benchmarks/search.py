"""Settings of the recommenders, found on validation data alone: ``docs/search.md`` tells what came.

    python -m benchmarks.search --data random [--only ease als] [--minutes 10] [--journal FILE]

``random`` is MovieLens 100K by the protocol of ``benchmarks.quality``: the training part is split
again by the same rule, three times, and the test part is not looked at. ``marketplace``, which is
synthetic, and ``movielens`` are judged as the asset `hyperparameter_search` does it, by windows of
time. Prints one JSON document. With ``--journal`` a search that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
from threadpoolctl import threadpool_limits

from benchmarks.common import report, worlds
from benchmarks.common.report import log
from benchmarks.common.worlds import Size
from benchmarks.parts.quality_data import films, ml_100k
from models.catalogue.building import Catalogue
from models.data.features import item_features, user_features
from models.data.ids import IdIndex
from models.data.interactions.splits import stratified_split
from models.evaluation import search
from models.evaluation.comparison import build_dataset
from models.evaluation.search import Budget, Found, Trial, Window
from models.profile.schema import Profile, load_profile
from models.recommenders.base import Dataset
from models.recommenders.spaces import SPACES
from storage.loading.samples import movielens

SEEDS = (1, 2, 3)
WINDOWS, SHARE = 3, 0.1
MARKETPLACE = Size(3_000, 2_000, 200_000)


def of_random(profile: Profile) -> tuple[list[Window], Window | None]:
    """Inner splits of the part that ``benchmarks.quality`` trains on."""
    ratings = ml_100k(None).log
    outer = np.flatnonzero(stratified_split(ratings.columns, share=0.75, seed=42))
    windows = []
    for seed in SEEDS:
        inner = stratified_split(ratings.columns[outer], share=0.75, seed=seed)
        train, held_out = (np.zeros(len(ratings.rows), bool) for _ in range(2))
        train[outer[inner]] = held_out[outer[~inner]] = True
        test = ratings.test_set(train, held_out)
        windows.append(Window(f"seed {seed}", ratings.dataset(train), test, judge=None))
    return windows, None


def of_marketplace(profile: Profile) -> tuple[list[Window], Window | None]:
    """The synthetic sample."""
    made = worlds.world(MARKETPLACE)
    return _in_time(made.lake.scan(), made.catalogue(), profile)


def of_movielens(profile: Profile) -> tuple[list[Window], Window | None]:
    """MovieLens 100K as the sample loads it: by its rating a like, a click or a dismissal."""
    interactions = movielens.read(movielens.sample_path()).interactions
    return _in_time(interactions.lazy(), films(None).catalogue, profile)


def _in_time(
    interactions: pl.LazyFrame, catalogue: Catalogue, profile: Profile
) -> tuple[list[Window], Window | None]:
    users, items = IdIndex.of(catalogue.users["id"]), IdIndex.of(catalogue.items["id"])
    features = user_features(catalogue.users, users), item_features(catalogue.items, items)

    def past(as_of: datetime) -> Dataset:
        return build_dataset(interactions, catalogue, users, items, *features, profile, as_of=as_of)

    share = profile.evaluation.test_share
    return search.windows(past, interactions, test_share=share, count=WINDOWS, share=SHARE)


DATA: dict[str, tuple[str, Callable[[Profile], tuple[list[Window], Window | None]]]] = {
    "random": ("marketplace", of_random),
    "marketplace": ("marketplace", of_marketplace),
    "movielens": ("social", of_movielens),
}
"""Name → profile, and what makes the windows and the test window of it."""


def searched(
    name: str, only: Sequence[str], budget: Budget, storage: optuna.storages.BaseStorage
) -> dict[str, Any]:
    """All recommenders on one of the data sets, each by the budget."""
    shipped, windows_of = DATA[name]
    profile = search.naming(load_profile(shipped), only)
    windows, test = windows_of(profile)
    rows, all_found = [], []
    for recommender in only:
        study = search.open_study(storage, search.study_name(profile, recommender, name, windows))
        tell = partial(_tell, recommender)
        result = search.search(recommender, profile, windows, study, budget, tell)
        all_found.append(result)
        rows.append(_row(result, profile, test))
        log.info("%s: %s", recommender, json.dumps(rows[-1]))
    return {
        "data": name,
        "windows": [f"{window.name}: {len(window.test.users)} users" for window in windows],
        "test": f"{test.name}: {len(test.test.users)} users" if test else "not looked at",
        "rows": rows,
        "profile": search.snippet(profile, all_found),
    }


def _tell(recommender: str, trial: Trial) -> None:
    log.info("%s %d: %.4f %s", recommender, trial.number, trial.mean, trial.values)


def _row(result: Found, profile: Profile, test: Window | None) -> dict[str, Any]:
    row = {
        "recommender": result.recommender,
        "trials": len(result.trials),
        "pruned": sum(trial.pruned for trial in result.trials),
        "stopped": result.stopped,
        "seconds": sum(trial.seconds for trial in result.trials),
        "current": result.current.values,
        "best": result.best.values,
        "validation": [result.current.mean, result.best.mean],
        "by_window": [result.current.ndcg, result.best.ndcg],
    }
    if test is not None:
        best, current, pair = search.on_test(result, profile, test)
        row |= {
            "test": [float(current.mean()), float(best.mean())],
            "difference": [pair.difference.mean, pair.difference.low, pair.difference.high],
            "p": pair.p,
        }
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=DATA, required=True)
    parser.add_argument("--only", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--minutes", type=float, default=10.0, help="of all together")
    parser.add_argument("--trials", type=int, default=60, help="of each recommender")
    parser.add_argument("--patience", type=int, default=25, help="trials without a better one")
    parser.add_argument("--journal", help="file that keeps the trials; without it none are kept")
    given = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%X"
    )
    log.setLevel(logging.INFO)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    budget = Budget(given.minutes * 60 / len(given.only), given.trials, given.patience)
    storage = search.journal(Path(given.journal)) if given.journal else None
    facts = report.machine()
    with threadpool_limits(1):
        results = searched(
            given.data, given.only, budget, storage or optuna.storages.InMemoryStorage()
        )
    print(json.dumps({"name": "search", "machine": facts, **results}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
