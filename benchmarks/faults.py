"""Everything that breaks, broken on purpose, on all that ``feedwright up`` starts, under load.

Visitors ask for feeds and send events the whole time. The report says of each fault what they saw,
how long it took until all was whole again, and whether an acknowledged event was lost or stored
twice.
A full disk is a small one that root mounts. Others limit what the feed's workers may write to a
file instead, and leave out the home's full disk, with a warning.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg

from benchmarks.common import report
from benchmarks.common.installation import folder_for
from benchmarks.common.report import BenchmarkError, Row, log
from benchmarks.common.visitors import Visitors
from benchmarks.parts.breaking import Broken, CannotBreak, Fault, catalogue
from storage.postgres.database import connect
from storage.postgres.embedded import EmbeddedPostgres

LIMIT_SECONDS = 90.0
CALM_SECONDS = 2.0
DISK = "1500m"
BUDGET_SECONDS = 720.0
"""No fault begins later: the document comes within a quarter of an hour."""


def measure(seconds: float, size: str, workers: int, only: Sequence[str]) -> list[Row]:
    """What became of every fault.

    Args:
        seconds: that a fault lasts, where it is not over at once.
        size: of the synthetic world, as ``feedwright load --synthetic`` takes it.
        only: names of faults; empty: all.

    Raises:
        BenchmarkError: the installation does not start; all that was started is stopped.
    """
    began = time.monotonic()
    with _running(size, workers) as installation:
        url = EmbeddedPostgres(installation.state / "postgres").url
        with connect(url, autocommit=True) as connection:
            users = _ids(connection, "users")
            items = _ids(connection, "items")
        with Visitors(installation.feed, users, items) as visitors:
            installation.user = users[0]
            _until_whole(installation)
            rows: list[Row] = []
            for fault in catalogue(seconds):
                if only and fault.name not in only:
                    continue
                if fault.needs_root and os.geteuid() != 0:
                    log.warning("%s: left out, it needs root", fault.name)
                    continue
                if time.monotonic() - began > BUDGET_SECONDS:
                    log.warning("%s: left out, there is no time for it", fault.name)
                    continue
                try:
                    rows += _suffer(installation, visitors, fault)
                except CannotBreak as error:
                    log.warning("%s: not brought about: %s", fault.name, error)
            rows.append(Row("acknowledged", float(visitors.acknowledged()), "events"))
    return rows


def _suffer(installation: Broken, visitors: Visitors, fault: Fault) -> list[Row]:
    time.sleep(CALM_SECONDS)
    visitors.seen()
    log.info("%s", fault.name)
    with fault.happens(installation):
        time.sleep(fault.seconds)
    began = time.monotonic()
    took = _until_whole(installation, fault)
    with connect(installation.database, autocommit=True) as connection:
        lost, doubled = visitors.missing(connection)
    seen = visitors.seen()
    for text in seen.not_200[:3]:
        log.warning("%s: a feed was answered %s", fault.name, text)
    if took is None:
        log.warning("%s: not whole after %.0f s", fault.name, LIMIT_SECONDS)
        took = time.monotonic() - began
    log.info("%s: whole after %.1f s, %d cut, %d lost", fault.name, took, seen.cut, lost)
    numbers = {
        "lost": (float(lost), "events"),
        "doubled": (float(doubled), "events"),
        "not_200": (float(len(seen.not_200)), "answers"),
        "cut": (float(seen.cut), "connections"),
        "seconds_to_recover": (took, "s"),
        "seconds_without_answer": (seen.longest, "s"),
    }
    return [Row(f"{fault.name}: {name}", *number) for name, number in numbers.items()]


def _until_whole(installation: Broken, fault: Fault | None = None) -> float | None:
    """Seconds until every part is as it was; None: not within ``LIMIT_SECONDS``."""
    began = time.monotonic()
    while time.monotonic() - began < LIMIT_SECONDS:
        with suppress(BenchmarkError, psycopg.Error):
            if installation.is_whole() and (fault is None or fault.is_over(installation)):
                return time.monotonic() - began
        time.sleep(0.1)
    return None


def _ids(connection: psycopg.Connection, table: str) -> list[str]:
    rows = connection.execute(f"SELECT id FROM feed.{table} ORDER BY id LIMIT 200").fetchall()
    return [row[0] for row in rows]


@contextmanager
def _running(size: str, workers: int) -> Iterator[Broken]:
    """A trained installation, on a small disk of its own where that can be had."""
    # Nothing is trained or found to drift by itself meanwhile.
    changes = {"retraining": {"min_new_interactions": 10**9}, "drift": {"min_rows": 10**9}}
    with folder_for("faults", "marketplace", changes) as home:
        installation = Broken(home, workers)
        home.chmod(0o755)
        installation.state.mkdir(mode=0o711)
        mounted = os.geteuid() == 0 and _mount(str(installation.state))
        try:
            installation.run("load", "--synthetic", size)
            installation.run("up", "--detach", "--no-sample")
            installation.remember()
            yield installation
        finally:
            installation.mend()
            try:
                installation.run("down")
            finally:
                EmbeddedPostgres(installation.state / "postgres").stop()
                if mounted:
                    subprocess.run(["umount", "-l", str(installation.state)], check=False)


def _mount(folder: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0711", "tmpfs", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        log.warning("no disk of its own: %s", done.stderr.strip())
    return done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(str(__doc__), users=300, items=500, interactions=20_000, seconds=6)
    parser.add_argument("--workers", type=int, default=2, help="workers")
    parser.add_argument("--only", action="append", default=[], help="a fault's name; repeatable")
    given = parser.parse_args(arguments)
    size = f"{given.users}x{given.items}x{given.interactions}"
    return report.run("faults", lambda: measure(given.seconds, size, given.workers, given.only))


if __name__ == "__main__":
    sys.exit(main())
