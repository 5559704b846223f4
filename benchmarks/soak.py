"""Ingest under load while the service is killed and Postgres is restarted: what is lost, what is
doubled.

Clients send batches and repeat each until it is acknowledged, as trackers do. Meanwhile every
process of the service is killed (SIGKILL), Postgres is stopped, the service is killed again with
events in its spool, and Postgres comes back. In the end each event must be stored once.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np
import psutil
import psycopg

from benchmarks import report, servers
from benchmarks.ingest import Start, real_service
from benchmarks.report import BenchmarkError, Row, log
from storage.database import connect, migrate
from storage.embedded import EmbeddedPostgres

CLIENTS = 8
BATCH = 20
TIMELESS = 10
"""Each so many events one has no time of its own."""
AWAY_SHARE = 0.1
PAUSE_SECONDS = 0.1
DRAIN_SECONDS = 120.0


@dataclass
class Client:
    """One that sends events numbered from 0, one batch after the other."""

    number: int
    acknowledged: int = 0
    accepted: int = 0
    repeated: int = 0
    latencies: list[float] = field(default_factory=list)
    longest: float = 0.0

    def run(self, url: str, until: Callable[[], bool]) -> None:
        with httpx.Client(trust_env=False, timeout=10) as http:
            while not until():
                began = time.perf_counter()
                body = {"interactions": [self._event(n) for n in range(BATCH)]}
                while not self._sent(http, url, body):
                    self.repeated += 1
                    time.sleep(PAUSE_SECONDS)
                self.acknowledged += BATCH
                self.longest = max(self.longest, time.perf_counter() - began)

    def _event(self, n: int) -> dict[str, object]:
        number = self.acknowledged + n
        timeless = number % TIMELESS == 0
        return {
            "event_id": str(UUID(int=self.number << 64 | number)),
            "user_id": f"user-{self.number}-{number % 500}",
            "item_id": f"item-{number % 5_000}",
            "type": "view",
            "occurred_at": None if timeless else datetime.now(UTC).isoformat(),
        }

    def _sent(self, http: httpx.Client, url: str, body: object) -> bool:
        start = time.perf_counter()
        try:
            answer = http.post(f"{url}/api/v1/interactions", json=body)
        except httpx.TransportError:
            return False
        if answer.status_code != 202:
            if answer.status_code in (429, 500, 502, 503, 504):
                return False
            raise BenchmarkError(f"answer {answer.status_code}: {answer.text[:300]}")
        told = answer.json()
        if told["rejected"]:
            raise BenchmarkError(f"rejected: {answer.text[:300]}")
        self.accepted += told["accepted"]
        self.latencies.append(time.perf_counter() - start)
        return True


class Service:
    """The service, to be killed; it comes back on the same port and folder."""

    def __init__(self, start: Callable[[], AbstractContextManager[servers.Server]]) -> None:
        self._start = start
        self.kills = 0
        self.enter()

    def enter(self) -> None:
        self._context = self._start()
        self.server = self._context.__enter__()

    def kill(self) -> None:
        """SIGKILL to every process of it."""
        process = self.server.process
        family = [psutil.Process(process.pid)]
        family += family[0].children(recursive=True)
        for one in family:
            one.kill()
        psutil.wait_procs(family)
        process.wait()
        self.leave()
        self.kills += 1
        log.info("service killed")

    def leave(self) -> None:
        self._context.__exit__(None, None, None)


def measure(seconds: float, start: Start) -> list[Row]:
    """What became of the events of some ``seconds``, with the service that ``start`` starts."""
    with tempfile.TemporaryDirectory(prefix="feedwright-soak-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the embedded Postgres of a root user runs as another account
        postgres = EmbeddedPostgres(folder / "postgres")
        port = servers.free_port()
        try:
            url = postgres.start()
            migrate(url)
            service = Service(lambda: start(url, folder, port))
            try:
                return _soak(seconds, service, postgres, folder / "home" / "serving" / "spool")
            finally:
                service.leave()
        finally:
            postgres.remove()


def _soak(seconds: float, service: Service, postgres: EmbeddedPostgres, spool: Path) -> list[Row]:
    clients = [Client(number) for number in range(1, CLIENTS + 1)]
    over = threading.Event()
    failures: list[BaseException] = []

    def run(client: Client) -> None:
        try:
            client.run(service.server.url, over.is_set)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(client,), daemon=True) for client in clients]
    began = time.monotonic()
    for thread in threads:
        thread.start()

    def wait_for(share: float) -> None:
        time.sleep(max(began + share * seconds - time.monotonic(), 0.0))

    wait_for(0.2)
    service.kill()
    service.enter()
    wait_for(0.4)
    log.info("Postgres stopped")
    postgres.stop()
    wait_for(0.4 + AWAY_SHARE / 2)
    most = _size(spool)
    service.kill()
    service.enter()
    wait_for(0.4 + AWAY_SHARE)
    most = max(most, _size(spool))
    postgres.start()
    log.info("Postgres started, %.1f MB in the spool", most / 1e6)
    wait_for(0.8)
    service.kill()
    service.enter()
    wait_for(1.0)
    over.set()
    for thread in threads:
        thread.join(DRAIN_SECONDS)
    if failures:
        raise BenchmarkError(f"a client failed: {failures[0]}")
    if any(thread.is_alive() for thread in threads):
        raise BenchmarkError("a client still waits for its answer")
    took = time.monotonic() - began
    drained = _drain(spool)
    with connect(postgres.url, autocommit=True) as connection:
        stored, distinct, by_client = _count(connection)
    acknowledged = sum(client.acknowledged for client in clients)
    lost = sum(client.acknowledged - by_client.get(client.number, 0) for client in clients)
    latencies = [one for client in clients for one in client.latencies]
    return [
        Row("acknowledged", acknowledged, "events"),
        Row("lost", lost, "events", "acknowledged", acknowledged),
        Row("doubled", stored - distinct, "events", "acknowledged", acknowledged),
        Row("stored", stored, "events", "acknowledged", acknowledged),
        Row("throughput", acknowledged / took, "events/s"),
        Row("requests repeated", sum(client.repeated for client in clients), "requests"),
        Row("p50", float(np.percentile(latencies, 50)) * 1e3, "ms"),
        Row("p99", float(np.percentile(latencies, 99)) * 1e3, "ms"),
        Row("longest wait for an acknowledgement", max(c.longest for c in clients), "s"),
        Row("kills of the service", service.kills, "kills"),
        Row("spool at its largest", most / 1e6, "MB"),
        Row("spool empty after the end", drained, "s"),
    ]


def _size(spool: Path) -> int:
    return sum(file.stat().st_size for file in spool.glob("*.spool"))


def _drain(spool: Path) -> float:
    """Seconds until the spool is empty."""
    began = time.monotonic()
    while list(spool.glob("*.spool")):
        if time.monotonic() - began > DRAIN_SECONDS:
            raise BenchmarkError(f"{_size(spool)} bytes stay in the spool")
        time.sleep(0.1)
    return time.monotonic() - began


def _count(connection: psycopg.Connection) -> tuple[int, int, dict[int, int]]:
    """Rows, different events, and those by client."""
    row = connection.execute(
        "SELECT count(*), count(DISTINCT event_id) FROM feed.interactions"
    ).fetchone()
    assert row is not None
    clients = connection.execute(
        "SELECT left(event_id::text, 18), count(DISTINCT event_id) FROM feed.interactions"
        " GROUP BY 1"
    ).fetchall()
    return row[0], row[1], {int(prefix.replace("-", ""), 16): count for prefix, count in clients}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(__doc__ or "", users=1, items=1, interactions=1, seconds=600)
    parser.add_argument("--workers", type=int, default=2, help="workers")
    given = parser.parse_args(arguments)
    return report.run("soak", lambda: measure(given.seconds, real_service(given.workers)))


if __name__ == "__main__":
    sys.exit(main())
