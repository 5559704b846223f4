"""Rows a second of loading a file of interactions, beside COPY of the same rows.

Both fill the table of an installation in the same run, each in a database of its own: ``load``
from the file to the commit, with checking, users and items; COPY from text that is ready, in
one transaction, into the same table with its indexes, and into one without any.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import psycopg

from benchmarks.common import report, servers
from benchmarks.common.report import BenchmarkError, Row, log
from storage.loading.load import load
from storage.loading.readers import read_log
from storage.postgres.bulk import as_copy_text

CHUNK = 250_000
DAYS = 180
END = datetime(2026, 6, 1, tzinfo=UTC)
LOOK_SECONDS = 0.05
COLUMNS = "(event_id, user_id, item_id, type, occurred_at)"
SAME = "COPY of the same rows into the same table"
BARE = "COPY of the same rows into a table without indexes"


class Memory:
    """The most that this process, and the server's, held while they were watched: bytes."""

    def __init__(self) -> None:
        self.own = self.postgres = 0

    @contextmanager
    def watched(self, server: psutil.Process) -> Iterator[None]:
        done = threading.Event()

        def look() -> None:
            own = psutil.Process()
            while True:
                self.own = max(self.own, own.memory_info().rss)
                self.postgres = max(self.postgres, _private(server))
                if done.wait(LOOK_SECONDS):
                    return

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _private(server: psutil.Process) -> int:
    """What the server's processes hold, without what they share."""
    held = 0
    for process in [server, *server.children(recursive=True)]:
        try:
            memory = process.memory_info()
        except psutil.NoSuchProcess:
            continue
        held += memory.rss - getattr(memory, "shared", 0)
    return held


def rows_of(users: int, items: int, count: int, begin: int) -> pl.DataFrame:
    """``count`` interactions with ids, as text; those from ``begin`` on."""
    chance = np.random.default_rng(begin)
    bits = chance.integers(0, 2**63, size=(2, count), dtype=np.uint64)
    seconds = pl.Series(chance.integers(0, DAYS * 86_400, size=count)) * 1_000_000
    start = int((END - timedelta(days=DAYS)).timestamp() * 1_000_000)
    return pl.DataFrame({"high": bits[0], "low": bits[1]}).select(
        event_id=pl.col("high").map_batches(_hex, return_dtype=pl.String)
        + pl.col("low").map_batches(_hex, return_dtype=pl.String),
        user_id=pl.lit("user-") + pl.Series(chance.integers(users, size=count)).cast(pl.String),
        item_id=pl.lit("item-") + pl.Series(chance.integers(items, size=count)).cast(pl.String),
        type=pl.Series(chance.choice(["view", "click", "save"], size=count, p=[0.7, 0.2, 0.1])),
        occurred_at=(seconds + start).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _hex(numbers: pl.Series) -> pl.Series:
    return pl.Series([f"{number:016x}" for number in numbers])


def measure(users: int, items: int, count: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="feedwright-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the embedded Postgres of a root user runs as another account
        file, text = folder / "interactions.csv", folder / "interactions.copy"
        _write(file, text, users, items, count)
        with servers.database(folder) as url, psycopg.connect(url) as connection:
            server = psutil.Process(connection.info.backend_pid).parent()
            assert server is not None
            connection.execute("CREATE TABLE bare (LIKE feed.interactions INCLUDING DEFAULTS)")
            bare, _ = _timed(server, lambda: _copy(connection, text, "bare"))
            connection.execute("DROP TABLE bare")
            log.info("COPY without indexes: %.0f rows/s", count / bare)
            _ensure_partitions(connection)
            same, of_copy = _timed(server, lambda: _copy(connection, text, "feed.interactions"))
            log.info("COPY: %.0f rows/s", count / same)
            connection.execute("TRUNCATE feed.interactions")
            connection.commit()
            before = psutil.Process().memory_info().rss
            loading, of_load = _timed(server, lambda: _load(connection, file, count))
            log.info("load: %.0f rows/s", count / loading)
    return [
        Row("loading", count / loading, "rows/s", SAME, count / same),
        Row("loading", count / loading, "rows/s", BARE, count / bare),
        Row("peak memory of the loading process", of_load.own / 1e6, "MB", "before it",
            before / 1e6),
        Row("peak memory of Postgres", of_load.postgres / 1e6, "MB", "during COPY",
            of_copy.postgres / 1e6),
    ]  # fmt: skip


def _write(file: Path, text: Path, users: int, items: int, count: int) -> None:
    """The rows as a file to load, and as text for COPY."""
    with file.open("wb") as csv, text.open("wb") as copy:
        for begin in range(0, count, CHUNK):
            rows = rows_of(users, items, min(CHUNK, count - begin), begin)
            rows.write_csv(csv, include_header=begin == 0)
            copy.write(as_copy_text(rows))


def _timed(server: psutil.Process, work: Callable[[], None]) -> tuple[float, Memory]:
    memory = Memory()
    with memory.watched(server):
        started = time.perf_counter()
        work()
        return time.perf_counter() - started, memory


def _ensure_partitions(connection: psycopg.Connection) -> None:
    connection.execute(
        "SELECT feed.ensure_interaction_partitions(VARIADIC ARRAY("
        "SELECT generate_series(%s::timestamptz, %s, '1 day')))",
        (END - timedelta(days=DAYS), END),
    )
    connection.commit()


def _copy(connection: psycopg.Connection, text: Path, table: str) -> None:
    with (
        text.open("rb") as file,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} {COLUMNS} FROM STDIN") as copy,
    ):
        while part := file.read(1 << 20):
            copy.write(part)
    connection.commit()


def _load(connection: psycopg.Connection, file: Path, count: int) -> None:
    done = load(connection, read_log(file, "csv")).entities["interactions"]
    if done.inserted != count:
        raise BenchmarkError(f"of {count} rows {done.inserted} were loaded")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(
        __doc__ or "", users=100_000, items=100_000, interactions=1_000_000, seconds=1
    )
    given = parser.parse_args(arguments)
    return report.run("loading", lambda: measure(given.users, given.items, given.interactions))


if __name__ == "__main__":
    sys.exit(main())
