"""Every recommender beside the bare library call on the same matrix: time and memory.

Each is trained in a process of its own, ours and the library's in turn. BLAS has one thread, as
have the libraries. With ``--similar-users``, the similarities of so many users too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from benchmarks.common import report, worlds
from benchmarks.common.report import Row, log
from benchmarks.common.stages import Run, watch
from benchmarks.common.worlds import Size
from benchmarks.parts.zoo_stages import BARE, FIT, PREPARE, SCORE
from models.recommenders.zoo import ZOO

CHILD = "benchmarks.parts.zoo_stages"
OURS, LIBRARY = "ours", "library"


def measure(size: Size, names: Sequence[str], scored_users: int, repeats: int) -> list[Row]:
    """Rows of each recommender, the best of ``repeats`` runs."""
    folder = str(worlds.world(size).folder)
    rows = []
    for name in names:
        makers = (OURS, LIBRARY) if name in BARE else (OURS,)
        runs: dict[str, list[Run]] = {maker: [] for maker in makers}
        for _ in range(repeats):
            for maker in makers:
                runs[maker].append(watch(CHILD, [folder, name, maker, str(scored_users)]))
        rows += _rows(name, runs)
        log.info("%s: %.1f s", name, rows[-6].value)
    return rows


def _rows(name: str, runs: dict[str, list[Run]]) -> list[Row]:
    def best(maker: str, part: str, stage: str) -> float | None:
        seen = [getattr(run, part) for run in runs.get(maker, [])]
        # What is over between two looks used no more memory than there was before.
        return min((values.get(stage, values[PREPARE]) for values in seen), default=None)

    def row(what: str, part: str, stage: str, unit: str, scale: float = 1) -> Row:
        ours, library = (best(maker, part, stage) for maker in (OURS, LIBRARY))
        assert ours is not None
        if library is None:
            return Row(f"{what}, {name}", ours * scale, unit)
        return Row(f"{what}, {name}", ours * scale, unit, "library alone", library * scale)

    return [
        row("train", "seconds", FIT, "s"),
        row("cpu of train", "cpu", FIT, "s"),
        row("peak memory of train", "peaks", FIT, "MB", 1e-6),
        row("memory before", "peaks", PREPARE, "MB", 1e-6),
        row("score", "seconds", SCORE, "s"),
        row("cpu of score", "cpu", SCORE, "s"),
    ]


def similarities(size: Size) -> list[Row]:
    """Top-k similarities of all users, and how many of a sample's are those of brute force."""
    done = watch(CHILD, ["similarities", str(size.users), str(size.items), str(size.interactions)])
    brute = done.facts["brute force"]
    what = f"user similarities, {size}"
    memory = done.peaks["similarities"] / 1e6
    return [
        Row(what, done.seconds["similarities"], "s", "dense products, extrapolated", brute),
        Row(f"peak memory, {what}", memory, "MB", "dense cosines", size.users**2 * 4 / 1e6),
        Row(f"exact, {what}", done.facts["exact"], "share of neighbours of sampled users"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(
        __doc__ or "", users=10_000, items=20_000, interactions=500_000, seconds=1
    )
    parser.add_argument(
        "--models",
        nargs="*",
        choices=list(ZOO),
        default=[name for name in ZOO if name != "heuristic"],
        help="which recommenders",
    )
    parser.add_argument("--scored-users", type=int, default=1_000, help="users to score for")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each, the best counts")
    parser.add_argument(
        "--similar-users",
        type=int,
        default=0,
        help="measure the similarities of so many users, each with 95 of ten times as many items",
    )
    given = parser.parse_args(arguments)
    for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[threads] = "1"  # of the children
    size = Size(given.users, given.items, given.interactions)

    def rows() -> list[Row]:
        made = measure(size, given.models, given.scored_users, given.repeats)
        if users := given.similar_users:
            made += similarities(Size(users, 10 * users, 95 * users))
        return made

    return report.run("zoo", rows)


if __name__ == "__main__":
    sys.exit(main())
