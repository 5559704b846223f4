"""Wall time and peak memory of every stage of training, and how good what comes out is.

Each stage runs in one child process, as in the pipeline. nDCG@10 is of a split by time, beside
popularity; similarities have scikit-learn's brute force as baseline. ``--pipeline`` adds the real
daily Dagster job on a database of its own; ``--hourly`` measures only how tables are brought up to
date within the day.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.common import report, worlds
from benchmarks.common.pipeline import daily_job, spread
from benchmarks.common.report import Row
from benchmarks.common.stages import Run, watch
from benchmarks.common.worlds import Size

WHOLE = "all stages"
BRUTE = "brute force"


def measure(size: Size, list_users: int, judged_users: int) -> list[Row]:
    """Time and memory of each stage, quality, and similarities beside brute force."""
    folder = str(worlds.world(size).folder)
    done = watch("benchmarks.parts.train_stages", [folder, str(list_users), str(judged_users)])
    own = {name: seconds for name, seconds in done.seconds.items() if name != BRUTE}
    total, facts = sum(own.values()), done.facts
    rows = [
        Row(WHOLE, total, "s"),
        Row(f"peak memory, {WHOLE}", max(done.peaks.values()) / 1e6, "MB"),
        Row("pairs", facts["pairs"], "pairs", "interactions", size.interactions),
    ]
    rows += [Row(name, seconds, "s", WHOLE, total) for name, seconds in own.items()]
    rows += [
        Row(f"cpu, {name}", done.cpu[name], "s", name, seconds) for name, seconds in own.items()
    ]
    rows += [
        Row(f"peak memory, {name}", peak / 1e6, "MB", "at its beginning", _before(done, name) / 1e6)
        for name, peak in done.peaks.items()
        if name in own
    ]
    rows += [
        Row(
            "user similarities beside brute force",
            own["user similarities"],
            "s",
            "scikit-learn brute-force cosine, extrapolated from some rows",
            facts["brute force"],
        ),
        Row("a list", own["lists"] / facts["list users"] * 1e3, "ms a user"),
        Row("snapshot", facts["snapshot bytes"] / 1e6, "MB"),
        Row("users judged", facts["users judged"], "users", "users", size.users),
    ]
    for metric in ("ndcg", "coverage"):
        base = facts[f"{metric} popularity"]
        rows += [
            Row(f"{metric}@10, {name}", facts[f"{metric} {name}"], metric, "popularity", base)
            for name in ("lightfm_hybrid", "heuristic", "popularity")
        ]
    return rows


def hourly(size: Size) -> list[Row]:
    """Tables with 0.1 % more rows, from reading to writing, beside a full build."""
    done = watch("benchmarks.parts.hourly_stages", [str(worlds.world(size).folder)])
    whole, facts = done.seconds["full build"], done.facts
    peaks = {name: peak / 1e6 for name, peak in done.peaks.items()}
    return [
        Row("hourly refresh", done.seconds["hourly refresh"], "s", "full build", whole),
        Row(
            "cpu, hourly refresh",
            done.cpu["hourly refresh"],
            "s",
            "full build",
            done.cpu["full build"],
        ),
        Row("peak memory, hourly refresh", peaks["hourly refresh"], "MB"),
        Row("peak memory, full build", peaks["full build"], "MB"),
        Row(
            "rows of the hour", facts["rows of the hour"], "rows", "interactions", size.interactions
        ),
        Row("users of the hour", facts["users of the hour"], "users", "users", size.users),
        Row("liked pairs", facts["liked"], "pairs", "interactions", size.interactions),
        Row("tables", facts["tables"], "tables"),
        Row("weights that differ from a full build", facts["differences"], "weights"),
        Row("state", facts["state bytes"] / 1e6, "MB"),
    ]


def _before(done: Run, name: str) -> float:
    """Peak of the stage before; 0 for the first."""
    names = list(done.peaks)
    place = names.index(name)
    return done.peaks[names[place - 1]] if place else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(
        __doc__ or "", users=10_000, items=20_000, interactions=500_000, seconds=1
    )
    parser.add_argument("--list-users", type=int, default=1_000, help="users to make lists for")
    parser.add_argument(
        "--judged-users",
        type=int,
        default=worlds.PROFILE.evaluation.max_users,
        help="at most so many users are judged by",
    )
    parser.add_argument("--pipeline", action="store_true", help="run the daily Dagster job too")
    parser.add_argument("--hourly", action="store_true", help="nothing but an hourly refresh")
    parser.add_argument(
        "--days",
        type=float,
        nargs="+",
        metavar="N",
        help="nothing but the load and the daily job, the same rows over N days, for each N",
    )
    given = parser.parse_args(arguments)
    size = Size(given.users, given.items, given.interactions)

    def rows() -> list[Row]:
        if given.days:
            return spread(size, given.days)
        if given.hourly:
            return hourly(size)
        made = measure(size, given.list_users, given.judged_users)
        return made + (daily_job(size) if given.pipeline else [])

    return report.run("train", rows)


if __name__ == "__main__":
    sys.exit(main())
