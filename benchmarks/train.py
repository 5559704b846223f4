"""Wall time and peak memory of every stage of training, and how good what comes out is."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from benchmarks import report, worlds
from benchmarks.pipeline import daily_job
from benchmarks.report import BenchmarkError, Row, log
from benchmarks.servers import stop_tree
from benchmarks.worlds import Size, World
from serving.launch import ROOT

LOOK_SECONDS = 0.01  # less than it takes to touch 100 MB of new memory
WHOLE = "all stages"
BRUTE = "brute force"


@dataclass
class Run:
    """What the child told, and what was seen of it. Memory is resident, in bytes."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)


def measure(size: Size, list_users: int, judged_users: int) -> list[Row]:
    """Time and memory of each stage, quality, and similarities beside brute force."""
    done = _watch(worlds.world(size), list_users, judged_users)
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


def _before(done: Run, name: str) -> float:
    """Peak of the stage before; 0 for the first."""
    names = list(done.peaks)
    place = names.index(name)
    return done.peaks[names[place - 1]] if place else 0.0


def _watch(world: World, list_users: int, judged_users: int) -> Run:
    """Run the stages in a child and look at its memory all the while."""
    done, stage = Run(), ["start"]
    command = [sys.executable, "-m", "benchmarks.train_stages", str(world.folder)]
    command += [str(list_users), str(judged_users)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    seen = psutil.Process(child.pid)
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            try:
                memory = seen.memory_info().rss
            except psutil.NoSuchProcess:
                return
            done.peaks[stage[0]] = max(done.peaks.get(stage[0], 0), memory)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        assert child.stdout is not None
        for line in child.stdout:
            told = json.loads(line)
            if "begin" in told:
                stage[0] = told["begin"]
            elif "end" in told:
                done.seconds[told["end"]] = told["seconds"]
                done.cpu[told["end"]] = told["cpu"]
                log.info("%s: %.2f s", told["end"], told["seconds"])
            else:
                done.facts[told["fact"]] = told["value"]
        if child.wait() != 0:
            raise BenchmarkError(f"{stage[0]} failed with exit status {child.returncode}")
    finally:
        over.set()
        watcher.join()
        stop_tree(child)
    return done


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
    given = parser.parse_args(arguments)
    size = Size(given.users, given.items, given.interactions)

    def rows() -> list[Row]:
        made = measure(size, given.list_users, given.judged_users)
        return made + (daily_job(size) if given.pipeline else [])

    return report.run("train", rows)


if __name__ == "__main__":
    sys.exit(main())
