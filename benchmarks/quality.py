"""How good the recommenders are on films: every row trained, scored and judged in this run.

    python -m benchmarks.quality [--path FOLDER] [--only ease two_stage] [--tables 100k path]

MovieLens 100K comes with the sample's wheel; ``--path`` names a folder of MovieLens as GroupLens
has it (ratings.csv, movies.csv), for another table. Prints one JSON document, and the tables on
standard error. ``docs/quality.md`` says how the settings were chosen.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.common import report
from benchmarks.common.report import log
from benchmarks.parts.quality_data import Ratings
from benchmarks.two_stage.first_stage import Learner
from benchmarks.two_stage.sessions import Nearness, SessionEase
from benchmarks.two_stage.two_stage import TwoStage
from models.data.splits import stratified_split
from models.evaluation import list_quality
from models.evaluation import metrics as evaluation
from models.profile.recommender_settings import (
    EASESettings,
    ItemKNNSettings,
    KNNSettings,
    NMFSettings,
)
from models.recommenders import judging
from models.recommenders.base import Dataset
from models.recommenders.factorisation.nmf import NMF
from models.recommenders.neighbours.ease import EASE
from models.recommenders.neighbours.knn import ItemKNN, UserKNN
from models.recommenders.zoo import ZOO

K = 10
SINGLE = (
    "popularity",
    "lightfm",
    "als",
    "bpr",
    "item_knn",
    "user_knn",
    "nmf",
    "ease",
    "lightfm_hybrid",
)
FOUND: dict[str, Callable[[], Learner]] = {
    "ease": lambda: EASE(EASESettings(ridge=1460.0, weighted=True)),
    "nmf": lambda: NMF(NMFSettings(dims=34, ridge=20.0, weighted=True, iterations=70)),
    "item_knn": lambda: ItemKNN(ItemKNNSettings(neighbours=344, weighting="bm25", weighted=True)),
    "user_knn": lambda: UserKNN(KNNSettings(neighbours=108, weighting="tfidf", weighted=True)),
}
"""Settings found on inner splits of MovieLens 100K (``docs/search.md``); the rest have their
defaults."""
SESSION = "session_ease"
TWO_STAGE = "two_stage"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One recommender on one split; ``ndcg`` is of each user."""

    row: dict[str, Any]
    ndcg: Floats


class Scored:
    """Scores that are made already, for judging them more than once."""

    def __init__(self, name: str, users: NDArray[np.integer], scores: NDArray[np.float32]) -> None:
        self.name, self._users, self._scores = name, users, scores

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        return self._scores[np.searchsorted(self._users, users)]


def table(ratings: Ratings, *, found: bool, only: Sequence[str]) -> dict[str, Any]:
    """All rows on the split of Microsoft's Recommenders, and the two stages against the best
    single one.

    Args:
        found: with the settings that were found for MovieLens 100K.
    """
    train = stratified_split(ratings.columns, share=0.75, seed=42)
    test, dataset = ratings.test_set(train, ~train), ratings.dataset(train)
    times = ratings.times
    makers: dict[str, Callable[[], Learner]] = {name: ZOO[name] for name in SINGLE}
    makers |= FOUND if found else {}
    makers[SESSION] = lambda: SessionEase(times, Nearness("steps", 10.0))
    makers[TWO_STAGE] = lambda: TwoStage(times=times)
    judged: dict[str, Judged] = {}
    for name, make in makers.items():
        if only and name not in only:
            continue
        judged[name] = _judged(name, make, dataset, test)
        log.info("%s: nDCG@%d %.4f", name, K, judged[name].row[f"ndcg@{K}"])
    result = {
        "protocol": "random",
        "train": int(train.sum()),
        "test": int((~train).sum()),
        "users": len(test.users),
        "rows": sorted((one.row for one in judged.values()), key=lambda row: -row[f"ndcg@{K}"]),
    }
    single = {name: one for name, one in judged.items() if name != TWO_STAGE}
    if TWO_STAGE in judged and single:
        best = max(single, key=lambda name: single[name].ndcg.mean())
        tested = list_quality.paired(judged[TWO_STAGE].ndcg, single[best].ndcg)
        result["two_stage"] = {"best_single": best} | asdict(tested)
    return result


def _judged(
    name: str,
    make: Callable[[], Learner],
    dataset: Dataset,
    test: judging.TestSet,
) -> Judged:
    start = perf_counter()
    recommender = make().fit(dataset)
    trained = perf_counter()
    scored = Scored(name, test.users, recommender.score(test.users))
    seconds = perf_counter() - trained
    done = evaluation.evaluate(scored, dataset, test, k=K)
    interval = list_quality.bootstrap(done.per_user["ndcg"])
    metrics = {key: value for key, value in done.metrics.items() if not key.startswith("users")}
    row = {
        "recommender": name,
        f"ndcg@{K}": interval.mean,
        "low": interval.low,
        "high": interval.high,
        **metrics,
        "train_seconds": trained - start,
        "score_seconds": seconds,
    }
    return Judged(row, done.per_user["ndcg"])


SHOWN = (
    "low",
    "high",
    f"recall@{K}",
    f"map@{K}",
    "coverage",
    "novelty",
    "diversity",
    "serendipity",
    "train_seconds",
    "score_seconds",
)


def _printed(found: dict[str, Any]) -> str:
    """The table for people, in Markdown."""
    columns = ("recommender", f"ndcg@{K}", *SHOWN)
    lines = [
        f"{found['data']}, {found['protocol']} split: {found['users']} users judged",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for row in found["rows"]:
        cells = [row["recommender"]]
        cells += [
            f"{row[name]:.2f}"
            if name.endswith("seconds") or name == "novelty"
            else f"{row[name]:.4f}"
            for name in columns[1:]
        ]
        lines.append("| " + " | ".join(cells) + " |")
    if "two_stage" in found:
        said = found["two_stage"]
        gap = said["difference"]
        lines.append(
            f"two_stage - {said['best_single']}: {gap['mean']:+.4f} "
            f"[{gap['low']:+.4f}, {gap['high']:+.4f}], paired t-test p = {said['p']:.2g}, "
            f"signed rank p = {said['p_signed_rank']:.2g}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", type=Path, help="folder of another MovieLens")
    names = [*SINGLE, SESSION, TWO_STAGE]
    parser.add_argument("--only", nargs="+", choices=names, default=[], help="rows, default all")
    tables = ("100k", "path")
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables, help="tables")
    given = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%X"
    )
    log.setLevel(logging.INFO)
    if given.path is not None and not given.path.is_dir():
        print(f"error: --path {given.path}: no such folder", file=sys.stderr)
        return 1
    facts, found = report.machine(), []
    # One thread everywhere, so that seconds compare.
    with threadpool_limits(1):
        for name in given.tables:
            if name == "path" and given.path is None:
                continue
            ratings = Ratings.read(given.path if name == "path" else None)
            data = given.path.name if name == "path" else "MovieLens 100K"
            rows = table(ratings, found=name == "100k", only=given.only)
            found.append({"data": data} | rows)
            print(_printed(found[-1]), file=sys.stderr)
    print(json.dumps({"name": "quality", "machine": facts, "tables": found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
