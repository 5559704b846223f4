"""Latency and throughput of the feed over HTTP, beside a constant answer of the same bytes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import numpy as np

from benchmarks import load, report, servers, worlds
from benchmarks.feed_stages import feed_stages
from benchmarks.report import BenchmarkError, Row, log
from benchmarks.worlds import PROFILE, VERSION, Size
from models.snapshot import Snapshot

CLIENTS = (1, 32)
ROUNDS = 3
ASKED = 2_000  # users who ask, one after the other
STAGE_USERS = 100
PERSONALISED = f'"model_version":"{VERSION}","variant":"champion","fallback_reason":null'.encode()
WARM_SECONDS = 1.0
BASELINE = "a constant answer of the same bytes"


def measure(size: Size, seconds: float, workers: Sequence[int], limit: int) -> list[Row]:
    """All points at each number of workers, and the stages of one request."""
    snapshot = worlds.snapshot(size)
    users = _askers(snapshot)
    rows = []
    with tempfile.TemporaryDirectory(prefix="feedwright-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the embedded Postgres of a root user runs as another account
        with servers.database(folder) as database_url, servers.registry(VERSION) as registry_url:
            for count in workers:
                place = folder / f"workers-{count}"
                place.mkdir()
                with servers.feed_server(
                    snapshot, VERSION, count, database_url, registry_url, place
                ) as feed:
                    body = _one_page(feed.url, users[0], limit)
                    with servers.constant_server(body, count, place) as constant:
                        rows += _points(feed, constant, users, count, seconds, limit)
    return rows + feed_stages(snapshot, users[:STAGE_USERS], PROFILE, limit=limit)


def _askers(snapshot: Path) -> list[str]:
    """Users, the same ones for everybody who measures, known to the model."""
    ids = Snapshot.load(snapshot).users.ids
    chosen = np.random.default_rng(0).permutation(len(ids))[:ASKED]
    return [ids[int(user)] for user in chosen]


def _one_page(url: str, user: str, limit: int) -> bytes:
    path = load.feed_paths([user], limit)[0]
    with httpx.Client(trust_env=False, timeout=10) as client:
        answer = client.get(url + path)
    page = answer.json() if answer.is_success else {}
    if page.get("model_version") != VERSION or page["fallback_reason"] or not page["items"]:
        raise BenchmarkError(f"no personalised feed for {user}: {answer.text[:300]}")
    return answer.content


def _points(
    feed: servers.Server,
    constant: servers.Server,
    users: Sequence[str],
    workers: int,
    seconds: float,
    limit: int,
) -> list[Row]:
    paths = load.feed_paths(users, limit)
    rows: list[Row] = []
    missed = answers = 0
    for clients in CLIENTS:
        rounds: list[tuple[load.Point, load.Point]] = []
        asked = {server.url: load.encode(server.url, paths) for server in (constant, feed)}
        # Pages of a snapshot come in at first touch, and the feed is careful until it has.
        for url, requests in asked.items():
            warm = min(WARM_SECONDS, seconds)
            load.measure(url, requests, clients=clients, seconds=warm, mark=b"}")
        for _ in range(ROUNDS):  # in turns, so that a busy machine is unfair to neither
            base, real = (
                load.measure(
                    server.url,
                    asked[server.url],
                    clients=clients,
                    seconds=seconds / ROUNDS,
                    mark=PERSONALISED,
                )
                for server in (constant, feed)
            )
            rounds.append((base, real))
            missed += real.unmarked
            answers += len(real.latencies)
        where = f"workers={workers}, clients={clients}"
        rows += _compared(where, rounds)
        log.info("%s: %s", where, ", ".join(f"{row.value:.3g} {row.unit}" for row in rows[-5:-1]))
    memory = feed.memory() / 1e6, constant.memory() / 1e6
    where = f"workers={workers}"
    rows.append(Row(f"answers without a model ({where})", missed, "answers", "all", answers))
    rows.append(Row(f"memory ({where})", memory[0], "MB", BASELINE, memory[1]))
    return rows


def _compared(where: str, rounds: Sequence[tuple[load.Point, load.Point]]) -> list[Row]:
    """Medians over the rounds."""

    def row(name: str, unit: str, value: Callable[[load.Point], float]) -> Row:
        base, real = (float(np.median([value(pair[side]) for pair in rounds])) for side in (0, 1))
        return Row(f"{name} ({where})", real, unit, BASELINE, base)

    return [
        row("p50", "ms", lambda point: point.milliseconds(50)),
        row("p99", "ms", lambda point: point.milliseconds(99)),
        row("throughput", "requests/s", lambda point: point.per_second),
        row("load generator", "share of a core", lambda point: point.generator),
        row("body", "bytes", lambda point: len(point.sample)),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(
        __doc__ or "", users=10_000, items=100_000, interactions=1_000_000, seconds=5
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="workers")
    parser.add_argument("--limit", type=int, default=20, help="items on a page")
    given = parser.parse_args(arguments)
    size = Size(given.users, given.items, given.interactions)
    return report.run("feed", lambda: measure(size, given.seconds, given.workers, given.limit))


if __name__ == "__main__":
    sys.exit(main())
