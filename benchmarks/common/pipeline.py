"""The real daily Dagster job over a synthetic log, on a database and a home of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil

from benchmarks.common import servers, worlds
from benchmarks.common.report import BenchmarkError, Row, log
from benchmarks.common.worlds import Size
from feedwright.dagster.home import write_dagster_home
from feedwright.environment import child_environment
from serving.launch import ROOT
from storage.loading.load import load
from storage.loading.log import Log
from storage.postgres.database import connect
from storage.preparation import prepare
from storage.settings import Settings

LOOK_SECONDS = 0.05
DAY = 86_400_000_000  # microseconds
INTERACTION_STEPS = ("interactions", "interaction_matrix")
"""What reads, checks and writes the days of the log; other steps learn from the matrix."""


@dataclass(frozen=True)
class Launched:
    """
    Attributes:
        seconds, cpu: of the whole job; cpu seconds are all but the same on a busy machine.
        peak: resident bytes.
        steps: seconds by name.
    """

    seconds: float
    cpu: float
    peak: int
    steps: dict[str, float]


def daily_job(size: Size) -> list[Row]:
    """Seconds to load and to run the first daily job and one after a quiet day; peak memory."""
    with _loaded(worlds.log_of(size)) as (settings, url, loaded):
        first = _launch(settings, url)
        second = _launch(settings, url)
    return [
        Row("pipeline: load into Postgres", loaded, "s"),
        Row("pipeline: first daily job", first.seconds, "s"),
        Row("pipeline: peak memory", first.peak / 1e6, "MB"),
        Row(
            "pipeline: daily job with nothing new", second.seconds, "s", "the first", first.seconds
        ),
    ]


def spread(size: Size, lengths: Sequence[float]) -> list[Row]:
    """Seconds to load and to train on the same rows over so many days, beside the first length."""
    log_of = worlds.log_of(size)
    rows: list[Row] = []
    first: dict[str, float] = {}
    for days in lengths:
        with _loaded(stretched(log_of, days)) as (settings, url, loaded):
            done = _launch(settings, url)
        interactions = loaded + sum(done.steps[name] for name in INTERACTION_STEPS)
        measured = {
            "load into Postgres": loaded,
            **{name: done.steps[name] for name in INTERACTION_STEPS},
            "load, interactions and matrix": interactions,
            "first daily job": done.seconds,
            "first daily job, cpu": done.cpu,
        }
        first = first or measured
        rows += [
            Row(f"{name}, {days:g} days", seconds, "s", f"{lengths[0]:g} days", first[name])
            for name, seconds in measured.items()
        ]
    return rows


def stretched(made: Log, days: float) -> Log:
    """The same rows, each time moved so that the log is so many days long and ends as before."""
    at = made.interactions["occurred_at"]
    micros = at.to_physical().to_numpy()
    end = int(micros.max())
    factor = days * DAY / (end - int(micros.min()))
    times = pl.col("^(occurred|created)_at$").to_physical()
    new = ((times - end) * factor + end).cast(pl.Int64).cast(at.dtype)

    def moved(frame: pl.DataFrame | None) -> pl.DataFrame | None:
        return None if frame is None else frame.with_columns(new)

    return Log(
        made.interactions.with_columns(new),
        moved(made.users),
        moved(made.items),
        moved(made.owners),
    )


@contextmanager
def _loaded(made: Log) -> Iterator[tuple[Settings, str, float]]:
    """Settings and database of an installation with this log, and the seconds of its load."""
    with tempfile.TemporaryDirectory(prefix="feedwright-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the embedded Postgres of a root user runs as another account
        with servers.database(folder) as url:
            settings = Settings(home=folder / "home", profile="marketplace", database_url=url)
            prepare(settings)
            started = time.perf_counter()
            with connect(url, autocommit=True) as connection:
                load(connection, made)
            loaded = time.perf_counter() - started
            write_dagster_home(settings)
            yield settings, url, loaded


def _launch(settings: Settings, url: str) -> Launched:
    output = settings.home / "launch.log"
    started = time.perf_counter()
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.launch"],
            env=child_environment(settings, url),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    seen, peak, cpu = psutil.Process(process.pid), 0, 0.0
    try:
        while process.poll() is None:
            peak = max(peak, seen.memory_info().rss)
            cpu = sum(seen.cpu_times()[:2])
            time.sleep(LOOK_SECONDS)
    finally:
        servers.stop_tree(process)
    said = output.read_text(errors="replace")
    if process.returncode != 0:
        raise BenchmarkError(f"the daily job failed:\n{said[-3000:]}")
    took = time.perf_counter() - started
    steps = re.findall(r"^Finished (\w+) in ([\d.]+) s", said, re.MULTILINE)
    log.info("daily job: %.1f s, %s", took, steps)
    return Launched(took, cpu, peak, {step: float(seconds) for step, seconds in steps})
