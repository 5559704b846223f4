"""How good the recommenders are on films: every row trained, scored and judged in this run.

    python -m benchmarks.quality [--path FOLDER] [--only ease two_stage] [--tables 100k-random]

MovieLens 100K comes with the sample's wheel; ``--path`` names a folder of MovieLens as GroupLens
has it (ratings.csv, movies.csv), for two more tables. Prints one JSON document, and the tables on
standard error. ``docs/quality.md`` says how the settings were chosen.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks import report
from benchmarks.quality_data import Ratings
from benchmarks.report import log
from models import evaluation, list_quality
from models.ranking.first_stage import Learner, Lesson, out_of_fold, out_of_time
from models.ranking.sessions import Nearness, SessionEase
from models.ranking.two_stage import TwoStage
from models.recommenders.base import Dataset
from models.recommenders.zoo import ZOO
from models.splits import stratified_split

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
SESSION = "session_ease"
TWO_STAGE = "two_stage"
TEST_SHARE = 0.2
MOMENTS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the training ratings, the oldest first, at which lessons in time begin and end."""
COLD_ITEM = 5
"""An item with fewer ratings to learn from is cold."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """What is learnt from, what is judged by, and lessons for a ranker that keep to the same."""

    name: str
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]
    lessons: Callable[[Dataset], Iterator[Lesson]]
    in_time: bool


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


def random_split(ratings: Ratings) -> Split:
    """As in the table of Microsoft's Recommenders."""
    train = stratified_split(ratings.columns, share=0.75, seed=42)
    return Split("random", train, ~train, partial(out_of_fold, count=5), in_time=False)


def time_split(ratings: Ratings) -> Split:
    """The newest fifth is judged by; items that nobody had rated before cannot be found."""
    train = ratings.seconds < np.quantile(ratings.seconds, 1 - TEST_SHARE)

    def lessons(dataset: Dataset) -> Iterator[Lesson]:
        ends = np.quantile(ratings.seconds[train], MOMENTS)
        return out_of_time([ratings.dataset(train & (ratings.seconds <= end)) for end in ends])

    return Split("time", train, ~train, lessons, in_time=True)


def table(ratings: Ratings, split: Split, only: Sequence[str]) -> dict[str, Any]:
    """All rows on one split, and the two stages against the best single one."""
    test = ratings.test_set(split.train, split.test)
    dataset = ratings.dataset(split.train, window=split.in_time)
    makers: dict[str, Callable[[], Learner]] = {name: ZOO[name] for name in SINGLE}
    times = ratings.times
    makers[SESSION] = lambda: SessionEase(times, Nearness("steps", 10.0))
    makers[TWO_STAGE] = lambda: TwoStage(lessons=split.lessons, times=times)
    counts = np.bincount(dataset.matrix.values.indices, minlength=len(ratings.items))
    known = evaluation.recommend(
        Scored("", test.users, np.tile(counts.astype(np.float32), (len(test.users), 1))),
        test.users,
        test.seen,
        K,
    )
    judged: dict[str, Judged] = {}
    for name, make in makers.items():
        if only and name not in only:
            continue
        judged[name] = _judged(name, make, dataset, test, known, counts < COLD_ITEM)
        log.info("%s: nDCG@%d %.4f", name, K, judged[name].row[f"ndcg@{K}"])
    found = {
        "protocol": split.name,
        "train": int(split.train.sum()),
        "test": int(split.test.sum()),
        "users": len(test.users),
        "rows": sorted((one.row for one in judged.values()), key=lambda row: -row[f"ndcg@{K}"]),
    }
    single = {name: one for name, one in judged.items() if name != TWO_STAGE}
    if TWO_STAGE in judged and single:
        best = max(single, key=lambda name: single[name].ndcg.mean())
        tested = list_quality.paired(judged[TWO_STAGE].ndcg, single[best].ndcg)
        found["two_stage"] = {"best_single": best} | asdict(tested)
    return found


def _judged(
    name: str,
    make: Callable[[], Learner],
    dataset: Dataset,
    test: evaluation.TestSet,
    popular: NDArray[np.integer],
    cold: NDArray[np.bool_],
) -> Judged:
    start = perf_counter()
    recommender = make().fit(dataset)
    trained = perf_counter()
    scored = Scored(name, test.users, recommender.score(test.users))
    seconds = perf_counter() - trained
    # BLAS may use another number of threads elsewhere; see ``main``.
    done = evaluation.evaluate(scored, dataset, test, k=K)
    top = evaluation.recommend(scored, test.users, test.seen, K)
    relevant = test.relevant.toarray() > 0
    hits = np.take_along_axis(relevant, top, axis=1) & (top >= 0)
    interval = list_quality.bootstrap(done.per_user["ndcg"])
    metrics = {key: value for key, value in done.metrics.items() if not key.startswith("users")}
    row = {
        "recommender": name,
        f"ndcg@{K}": interval.mean,
        "low": interval.low,
        "high": interval.high,
        **metrics,
        "diversity": float(
            list_quality.intra_list_diversity(top, dataset.item_features.values).mean()
        ),
        "serendipity": float(list_quality.serendipity(top, hits, popular).mean()),
        "recall_of_cold_items": list_quality.item_recall(top, test.relevant, cold),
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
    tables = ("100k-random", "path-random", "path-time")
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
            source, _, kind = name.partition("-")
            if source == "path" and given.path is None:
                continue
            ratings = Ratings.read(given.path if source == "path" else None)
            split = random_split(ratings) if kind == "random" else time_split(ratings)
            data = "MovieLens 100K" if source == "100k" else given.path.name
            found.append({"data": data} | table(ratings, split, given.only))
            print(_printed(found[-1]), file=sys.stderr)
    print(json.dumps({"name": "quality", "machine": facts, "tables": found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
