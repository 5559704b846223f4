"""Latency and throughput of the feed over HTTP, beside a constant answer of the same bytes.

Two ways: ``ranked anew``, where every request is ranked from its candidates on, as for a user
who comes for the first time; and ``as visited``, where users come again and scroll, by Zipf's
law, and a feed that was ranked less than a minute ago is read again, as the profile has it.

The real Bento and a server with one stored answer take turns, three rounds each, asked by 1 and by
32 keep-alive clients; medians are reported. The clients' share of a core is in the rows: near 1,
the generator is what was measured. Every answer is checked for status 200 and a model version.
``stage:`` rows time the parts of one request in this process, as shares of the whole.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import numpy as np

from benchmarks.common import clients as load
from benchmarks.common import report, servers, worlds
from benchmarks.common.report import BenchmarkError, Row, log
from benchmarks.common.worlds import PROFILE, VERSION, Size
from benchmarks.parts.feed_stages import feed_stages
from models.catalogue.snapshots.snapshot import Snapshot
from models.profile.schema import Profile

CLIENTS = (1, 32)
ROUNDS = 3
ASKED = 20_000  # requests that are sent one after the other, then from the first again
STAGE_USERS = 200
PERSONALISED = f'"model_version":"{VERSION}","variant":"champion","fallback_reason":null'.encode()
WARM_SECONDS = 2.0
BASELINE = "a constant answer of the same bytes"
ANEW, VISITED = "ranked anew", "as visited"
SCROLLED = 0.4  # share of the visits that ask for a second page


def measure(size: Size, seconds: float, workers: Sequence[int], limit: int) -> list[Row]:
    """All points at each number of workers, and the stages of one request."""
    snapshot = worlds.snapshot(size)
    ids = Snapshot.load(snapshot).users.ids
    users = [ids[int(user)] for user in np.random.default_rng(0).permutation(len(ids))[:ASKED]]
    rows = []
    with tempfile.TemporaryDirectory(prefix="feedwright-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the embedded Postgres of a root user runs as another account
        with servers.database(folder) as database_url, servers.registry(VERSION) as registry_url:
            for count in workers:
                for mode, profile, paths in (
                    (ANEW, _never_reusing(PROFILE), load.feed_paths(users, limit)),
                    (VISITED, PROFILE, _visits(users, limit)),
                ):
                    home = folder / f"{mode}-{count}".replace(" ", "-")
                    with servers.feed_server(
                        snapshot, VERSION, count, database_url, registry_url, home, profile
                    ) as feed:
                        body = _one_page(feed.url, users[0], limit)
                        with servers.constant_server(body, count, home) as constant:
                            rows += _points(
                                feed, constant, paths, f"{mode}, workers={count}", seconds
                            )
    return rows + feed_stages(snapshot, users[:STAGE_USERS], PROFILE, limit=limit)


def _never_reusing(profile: Profile) -> Profile:
    serving = profile.serving.model_copy(update={"reuse_seconds": 0.0})
    return profile.model_copy(update={"serving": serving})


def _visits(users: Sequence[str], limit: int) -> list[str]:
    """Paths that users ask for: the k-th most active one comes 1 / k as often as the first."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, len(users) + 1)
    visitors = rng.choice(len(users), ASKED, p=share / share.sum())
    first = load.feed_paths([users[user] for user in visitors], limit)
    scrolls = rng.random(ASKED) < SCROLLED
    return [
        path
        for visit, scrolled in zip(first, scrolls, strict=True)
        for path in ([visit, f"{visit}&offset={limit}"] if scrolled else [visit])
    ]


def _one_page(url: str, user: str, limit: int) -> bytes:
    path = load.feed_paths([user], limit)[0]
    with httpx.Client(trust_env=False, timeout=10) as client:
        answer = client.get(url + path)
    page = answer.json() if answer.is_success else {}
    if page.get("model_version") != VERSION or page["fallback_reason"] or not page["items"]:
        raise BenchmarkError(f"no personalised feed for {user}: {answer.text[:300]}")
    return answer.content


def _points(
    feed: servers.Server, constant: servers.Server, paths: Sequence[str], what: str, seconds: float
) -> list[Row]:
    rows: list[Row] = []
    missed = answers = 0
    asked = {server.url: load.encode(server.url, paths) for server in (constant, feed)}
    for clients in CLIENTS:
        rounds: list[tuple[load.Point, load.Point]] = []
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
        where = f"{what}, clients={clients}"
        rows += _compared(where, rounds)
        log.info("%s: %s", where, ", ".join(f"{row.value:.3g} {row.unit}" for row in rows[-5:-1]))
    rows.append(Row(f"answers without a model ({what})", missed, "answers", "all", answers))
    ours, theirs = feed.memory(), constant.memory()
    for name, mine, other in (
        ("memory of a worker", ours.worker, theirs.worker),
        ("memory shared", ours.shared, theirs.shared),
    ):
        rows.append(Row(f"{name} ({what})", mine / 1e6, "MB", BASELINE, other / 1e6))
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
