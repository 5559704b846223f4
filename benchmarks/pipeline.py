"""The real daily Dagster job over a synthetic log, on a database and a home of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import servers, worlds
from benchmarks.report import BenchmarkError, Row, log
from benchmarks.worlds import Size
from feedwright.dagster_home import write_dagster_home
from feedwright.environment import child_environment
from serving.launch import ROOT
from storage.database import connect, prepare
from storage.loading import load
from storage.settings import Settings

LOOK_SECONDS = 0.05


def daily_job(size: Size) -> list[Row]:
    """Seconds to load and to run the first daily job and one after a quiet day; peak memory."""
    with tempfile.TemporaryDirectory(prefix="feedwright-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the embedded Postgres of a root user runs as another account
        with servers.database(folder) as url:
            settings = Settings(home=folder / "home", profile="marketplace", database_url=url)
            prepare(settings)
            started = time.perf_counter()
            with connect(url, autocommit=True) as connection:
                load(connection, worlds.log_of(size))
            loaded = time.perf_counter() - started
            write_dagster_home(settings)
            first, peak = _launch(settings, url)
            second, _ = _launch(settings, url)
    return [
        Row("pipeline: load into Postgres", loaded, "s"),
        Row("pipeline: first daily job", first, "s"),
        Row("pipeline: peak memory", peak / 1e6, "MB"),
        Row("pipeline: daily job with nothing new", second, "s", "the first", first),
    ]


def _launch(settings: Settings, url: str) -> tuple[float, int]:
    """Seconds, and peak resident bytes."""
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
    seen, peak = psutil.Process(process.pid), 0
    try:
        while process.poll() is None:
            peak = max(peak, seen.memory_info().rss)
            time.sleep(LOOK_SECONDS)
    finally:
        servers.stop_tree(process)
    if process.returncode != 0:
        raise BenchmarkError(f"the daily job failed:\n{output.read_text(errors='replace')[-3000:]}")
    took = time.perf_counter() - started
    log.info("daily job: %.1f s", took)
    return took, peak
