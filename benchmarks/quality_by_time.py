"""How good the recommenders are at what comes next, on a MovieLens of your own.

    python -m benchmarks.quality_by_time --path FOLDER [--splits last] [--only als ease]

``last``     each user's newest fifth is judged by; everything else is learnt from.
``windows``  the years are cut into windows. Who comes to the last fifth of what he does within one
             is asked then: learnt from is all before the window, and what those users did up to
             their own moments. The users of all windows are judged together.

Most users of MovieLens come once: a cut at one moment leaves 28 of 610 on both sides. Prints one
JSON document, and the tables on standard error.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
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
from benchmarks.two_stage.folds import last_of_users, not_last, with_newest_as_validation
from benchmarks.two_stage.recency import Followers, LinearFollowers, RecentEase, recent_first_stage
from benchmarks.two_stage.sessions import Nearness, SessionEase
from benchmarks.two_stage.two_stage import TwoStage, TwoStageSettings
from models.evaluation import list_quality
from models.evaluation import metrics as evaluation
from models.recommenders.zoo import ZOO

K = 10
LAST = 0.2
WINDOWS = 4
FIRST_WINDOW = 0.4
"""Share of the ratings before the first window."""
SINGLE = (
    *("popularity", "lightfm", "lightfm_hybrid", "als", "bpr", "nmf"),
    *("user_knn", "item_knn", "ease"),
)
TIMED = ("session_ease", "recent_ease", "followers", "linear_followers")
TWO_STAGE = "two_stage"
SETTINGS = TwoStageSettings(candidates=300)
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """What is learnt from and what is judged by: masks over the ratings."""

    known: Mask
    wanted: Mask


def last(ratings: Ratings) -> list[Cut]:
    known = not_last(ratings.rows, ratings.seconds, LAST)
    return [Cut(known, ~known)]


def windows(ratings: Ratings) -> list[Cut]:
    known, seconds = not_last(ratings.rows, ratings.seconds, LAST), ratings.seconds
    asked_at = np.full(len(ratings.users), np.inf)
    np.minimum.at(asked_at, ratings.rows[~known], seconds[~known])
    ends = np.quantile(seconds, np.linspace(FIRST_WINDOW, 1, WINDOWS + 1))
    ends[-1] += 1
    cuts = []
    for start, end in pairwise(ends):
        asked = ((asked_at >= start) & (asked_at < end))[ratings.rows]
        cuts.append(Cut(np.where(asked, known, seconds < start), asked & ~known))
    return cuts


SPLITS: dict[str, Callable[[Ratings], list[Cut]]] = {"last": last, "windows": windows}


def makers(ratings: Ratings) -> dict[str, Callable[[], Learner]]:
    times = ratings.times
    made: dict[str, Callable[[], Learner]] = {name: ZOO[name] for name in SINGLE}
    made["session_ease"] = lambda: SessionEase(times, Nearness("steps", 10.0))
    made["recent_ease"] = lambda: RecentEase(times)
    made["followers"] = lambda: Followers(times)
    made["linear_followers"] = lambda: LinearFollowers(times)
    made[TWO_STAGE] = lambda: TwoStage(
        SETTINGS,
        others=recent_first_stage(times),
        folds=partial(last_of_users, times=times),
        times=times,
    )
    return made


class Scored:
    """Scores that are made already."""

    def __init__(self, name: str, users: NDArray[np.integer], scores: NDArray[np.float32]) -> None:
        self.name, self._users, self._scores = name, users, scores

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        return self._scores[np.searchsorted(self._users, users)]


def table(ratings: Ratings, split: str, only: Sequence[str]) -> dict[str, Any]:
    """All rows, and the two stages against each single one."""
    found: dict[str, list[dict[str, Floats]]] = {}
    seconds: dict[str, float] = {}
    for place, cut in enumerate(SPLITS[split](ratings), 1):
        test = ratings.test_set(cut.known, cut.wanted)
        dataset = ratings.dataset(cut.known, window=split == "windows")
        dataset = with_newest_as_validation(dataset, ratings.times)
        log.info(
            "%s %d: %d ratings known, %d users", split, place, cut.known.sum(), len(test.users)
        )
        for name, make in makers(ratings).items():
            if only and name not in only:
                continue
            start = perf_counter()
            scored = Scored(name, test.users, make().fit(dataset).score(test.users))
            seconds[name] = seconds.get(name, 0.0) + perf_counter() - start
            done = evaluation.evaluate(scored, dataset, test, k=K).per_user
            found.setdefault(name, []).append(done)
            log.info("%s: nDCG@%d %.4f", name, K, done["ndcg"].mean())
    whole = {
        name: {of: np.concatenate([part[of] for part in parts]) for of in parts[0]}
        for name, parts in found.items()
    }
    rows = [_row(name, per_user, seconds[name]) for name, per_user in whole.items()]
    made: dict[str, Any] = {
        "protocol": split,
        "users": len(next(iter(whole.values()))["ndcg"]),
        "rows": sorted(rows, key=lambda row: -row[f"ndcg@{K}"]),
    }
    if TWO_STAGE in whole:
        made["two_stage_against"] = {
            name: asdict(list_quality.paired(whole[TWO_STAGE]["ndcg"], per_user["ndcg"]))
            for name, per_user in whole.items()
            if name != TWO_STAGE
        }
    return made


def _row(name: str, per_user: dict[str, Floats], seconds: float) -> dict[str, Any]:
    interval = list_quality.bootstrap(per_user["ndcg"])
    means = {f"{of}@{K}": float(per_user[of].mean()) for of in ("recall", "map", "mrr", "hit_rate")}
    return {
        "recommender": name,
        f"ndcg@{K}": interval.mean,
        "low": interval.low,
        "high": interval.high,
        **means,
        "seconds": seconds,
    }


def _printed(made: dict[str, Any]) -> Iterator[str]:
    """The table for people, in Markdown."""
    columns = list(made["rows"][0])
    against = made.get("two_stage_against", {})
    yield f"{made['protocol']}: {made['users']} users judged"
    yield "| " + " | ".join([*columns, "two_stage is ahead by", "p"]) + " |"
    yield "|---" * (len(columns) + 2) + "|"
    for row in made["rows"]:
        cells = [row["recommender"], *(f"{row[name]:.4f}" for name in columns[1:-1])]
        cells.append(f"{row['seconds']:.1f}")
        if row["recommender"] in against:
            said = against[row["recommender"]]
            gap = said["difference"]
            cells.append(f"{gap['mean']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]")
            cells.append(f"{said['p']:.1g}")
        else:
            cells += ["", ""]
        yield "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", type=Path, required=True, help="folder of a MovieLens")
    names = [*SINGLE, *TIMED, TWO_STAGE]
    parser.add_argument("--only", nargs="+", choices=names, default=[], help="rows, default all")
    parser.add_argument("--splits", nargs="+", choices=list(SPLITS), default=list(SPLITS))
    given = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%X"
    )
    log.setLevel(logging.INFO)
    if not given.path.is_dir():
        print(f"error: --path {given.path}: no such folder", file=sys.stderr)
        return 1
    facts, ratings = report.machine(), Ratings.read(given.path)
    # One thread everywhere, so that seconds compare.
    with threadpool_limits(1):
        found = [table(ratings, split, given.only) for split in given.splits]
    for made in found:
        print("\n".join(_printed(made)), file=sys.stderr)
    print(json.dumps({"name": "quality_by_time", "machine": facts, "tables": found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
