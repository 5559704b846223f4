"""Events a second taken in durably over HTTP, beside COPY of rows alike into the same table.

The table holds months of events before it begins, as an installation does that is not new.
Each event is sent once, and counted in Postgres afterwards. COPY has one connection and commits
as many rows at a time as a request has; COPY of 10,000 at a time is the most that Postgres does.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np
import polars as pl
import psycopg
from psycopg import sql

from benchmarks.common import report, servers
from benchmarks.common.ports import free_port
from benchmarks.common.report import BenchmarkError, Row, log
from serving.launch import feed_command, feed_environment
from storage.postgres.bulk import as_copy_text
from storage.settings import Settings

CLIENTS = (1, 8, 32)
BATCHES = (1, 20, 1_000)
WHOLE = 10_000
ROUNDS = 2
ROWS_A_MONTH = 50_000
ANSWER_SECONDS = 20.0
Start = Callable[[str, Path, int], AbstractContextManager[servers.Server]]
"""Starts a service on a database's address, a folder and a port."""
TABLE = sql.SQL(
    "COPY feed.interactions (event_id, user_id, item_id, type, occurred_at, metadata) FROM STDIN"
)


@dataclass(frozen=True)
class Point:
    """``rows`` in ``seconds``; latencies of requests, or of commits, in seconds."""

    rows: int
    seconds: float
    latencies: list[float]


class Events:
    """Events as a tracker makes them, each another."""

    def __init__(self, users: int, items: int) -> None:
        self._rng = np.random.default_rng(0)
        self._users, self._items = users, items
        self._now = datetime.now(UTC)

    def frame(self, n: int) -> pl.DataFrame:
        """``n`` rows of ``feed.interactions``, as text."""
        rng = self._rng
        ids = [str(UUID(bytes=rng.bytes(16), version=4)) for _ in range(n)]
        users, items = rng.integers(self._users, size=n), rng.integers(self._items, size=n)
        kinds = rng.choice(["impression", "view", "click"], size=n, p=[0.7, 0.2, 0.1])
        ages = rng.uniform(0, 7 * 86_400, size=n)
        return pl.DataFrame(
            {
                "event_id": ids,
                "user_id": [f"user-{user}" for user in users],
                "item_id": [f"item-{item}" for item in items],
                "type": kinds,
                "occurred_at": [
                    (self._now - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
                    for age in ages
                ],
                "metadata": [
                    '{"feed_id":"01a1ff95aec25b065759e8d2efa6337e","variant":"champion",'
                    f'"model_version":"3","position":{item % 20},"propensity":0.95}}'
                    for item in items
                ],
            }
        )

    def bodies(self, requests: int, batch: int) -> list[bytes]:
        """Bodies of ``POST /api/v1/interactions``."""
        rows = [
            {**row, "metadata": json.loads(row["metadata"])}
            for row in self.frame(requests * batch).iter_rows(named=True)
        ]
        return [
            json.dumps({"interactions": rows[at : at + batch]}, separators=(",", ":")).encode()
            for at in range(0, len(rows), batch)
        ]


def measure(seconds: float, events: Events, start: Start, months: int = 0) -> list[Row]:
    """All points, of the service that ``start`` starts, after ``months`` of events."""
    with tempfile.TemporaryDirectory(prefix="feedwright-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the embedded Postgres of a root user runs as another account
        with (
            servers.database(folder) as url,
            start(url, folder, free_port()) as server,
            psycopg.connect(url, autocommit=True) as connection,
        ):
            _fill(connection, months)
            return _points(server.url, connection, events, seconds)


def _fill(connection: psycopg.Connection, months: int) -> None:
    """Events of the months before this one, each in a partition of its own."""
    begins = [datetime.now(UTC) - timedelta(days=30 * (n + 1)) for n in range(months)]
    connection.execute(
        "SELECT feed.ensure_interaction_partitions(VARIADIC %s::timestamptz[])", (begins,)
    )
    for at in begins:
        connection.execute(
            "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
            " SELECT gen_random_uuid(), 'user-' || n %% 10000, 'item-' || n, 'view', %s"
            " FROM generate_series(1, %s) AS n",
            (at, ROWS_A_MONTH),
        )
    connection.execute("VACUUM ANALYZE feed.interactions")


def real_service(workers: int) -> Start:
    """The Bento as ``feedwright up`` starts it, without a model, without rate limits."""

    def start(database_url: str, folder: Path, port: int) -> AbstractContextManager[servers.Server]:
        settings = Settings(
            home=folder / "home",
            database_url=database_url,
            host=servers.HOST,
            feed_port=port,
            feed_workers=workers,
            rate_limit_per_user=0,
            rate_limit_per_key=0,
        )
        return servers.serving(
            feed_command(settings), feed_environment(settings), port, folder / "feed.log"
        )

    return start


def _points(url: str, connection: psycopg.Connection, events: Events, seconds: float) -> list[Row]:
    rows: list[Row] = []
    _copy(connection, events, WHOLE, 0.2)
    whole = _copy(connection, events, WHOLE, seconds)
    most = 0.0
    for batch in BATCHES:
        for clients in CLIENTS:
            copied: list[Point] = []
            posted: list[Point] = []
            for _ in range(ROUNDS):  # in turns, so that a busy machine is unfair to neither
                copied.append(_copy(connection, events, batch, seconds / ROUNDS))
                bodies = events.bodies(_enough(batch, clients, seconds / ROUNDS), batch)
                before = _count(connection)
                posted.append(post(url, bodies, batch, clients, seconds / ROUNDS))
                stored = _count(connection) - before
                if stored != posted[-1].rows:
                    raise BenchmarkError(f"{posted[-1].rows} events accepted, {stored} stored")
            where = f"batches of {batch}, clients={clients}"
            rows += _compared(where, posted, copied, f"COPY, {batch} at a time")
            log.info("%s: %.0f events/s, COPY %.0f", where, rows[-3].value, rows[-3].baseline_value)
            most = max(most, rows[-3].value)
    best = Row("events a second, at most", most, "events/s", f"COPY, {WHOLE} at a time",
               whole.rows / whole.seconds)  # fmt: skip
    return [*rows, best]


def _compared(
    where: str, posted: Sequence[Point], copied: Sequence[Point], baseline: str
) -> list[Row]:
    def speed(points: Sequence[Point]) -> float:
        return sum(point.rows for point in points) / sum(point.seconds for point in points)

    def milliseconds(points: Sequence[Point], percentile: float) -> float:
        latencies = [latency for point in points for latency in point.latencies]
        return float(np.percentile(latencies, percentile)) * 1e3

    return [
        Row(f"throughput ({where})", speed(posted), "events/s", baseline, speed(copied)),
        *(
            Row(
                f"p{percentile} ({where})",
                milliseconds(posted, percentile),
                "ms",
                f"commit of {baseline}",
                milliseconds(copied, percentile),
            )
            for percentile in (50, 99)
        ),
    ]


def _enough(batch: int, clients: int, seconds: float) -> int:
    """More requests than can be answered in that time."""
    return int(seconds * min(4_000, 40_000 / batch)) + clients


def _count(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM feed.interactions").fetchone()
    assert row is not None
    return row[0]


def _copy(connection: psycopg.Connection, events: Events, batch: int, seconds: float) -> Point:
    """COPY, a transaction a batch; the text is made before."""
    now = datetime.now(UTC)
    connection.execute(
        "SELECT feed.ensure_interaction_partitions(%s, %s)", (now - timedelta(days=8), now)
    )
    rows = max(batch, int(seconds * min(60_000, 1_500 * batch)))
    text = as_copy_text(events.frame(rows)).splitlines(keepends=True)
    chunks = [b"".join(text[at : at + batch]) for at in range(0, len(text), batch)]
    latencies: list[float] = []
    began = time.perf_counter()
    done = 0
    with connection.cursor() as cursor:
        for chunk in chunks:
            start = time.perf_counter()
            if start - began > seconds:
                break
            with cursor.copy(TABLE) as copy:
                copy.write(chunk)
            done += chunk.count(b"\n")
            latencies.append(time.perf_counter() - start)
    return Point(done, time.perf_counter() - began, latencies)


def post(url: str, bodies: Sequence[bytes], batch: int, clients: int, seconds: float) -> Point:
    """Send bodies, each client one after the other, until the time is over; wait for all answers.

    Raises:
        BenchmarkError: an answer is not 202 with all of its events accepted.
    """
    where = urlsplit(url)
    head = f"POST /api/v1/interactions HTTP/1.1\r\nHost: {where.netloc}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: "
    requests = iter([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
    good = f'"accepted":{batch},'.encode()
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        sent: dict[socket.socket, float] = {}
        received: dict[socket.socket, bytes] = {}
        under_way: dict[socket.socket, bytes] = {}

        def send(connection: socket.socket) -> None:
            request = next(requests, None)
            if request is None or time.perf_counter() > end:
                selector.unregister(connection)
                connection.close()
                return
            sent[connection] = time.perf_counter()
            received[connection], under_way[connection] = b"", request
            connection.sendall(request)

        began = time.perf_counter()
        end = began + seconds
        for _ in range(clients):
            connection = socket.create_connection((where.hostname, where.port), ANSWER_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection, selectors.EVENT_READ)
            send(connection)
        while selector.get_map():
            ready = selector.select(ANSWER_SECONDS)
            if not ready:
                raise BenchmarkError(f"{url} gave no answer in {ANSWER_SECONDS} s")
            for key, _ in ready:
                connection = key.fileobj  # type: ignore[assignment]
                part = connection.recv(1 << 18)
                received[connection] += part
                answer = received[connection]
                if part and not _is_whole(answer):
                    continue
                if answer.startswith(b"HTTP/1.1 429"):  # too many at once: the latency grows
                    received[connection] = b""
                    connection.sendall(under_way[connection])
                    continue
                if not answer.startswith(b"HTTP/1.1 202") or good not in answer[-200:]:
                    raise BenchmarkError(f"{url} answered {answer[:300].decode('latin-1')}")
                latencies.append(time.perf_counter() - sent[connection])
                send(connection)
        took = time.perf_counter() - began
    return Point(len(latencies) * batch, took, latencies)


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    return bool(end) and len(body) >= int(length)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(__doc__ or "", users=10_000, items=100_000, interactions=1, seconds=4)
    parser.add_argument("--workers", type=int, default=2, help="workers")
    parser.add_argument("--months", type=int, default=14, help="months of events before it begins")
    given = parser.parse_args(arguments)
    events = Events(given.users, given.items)
    start = real_service(given.workers)
    return report.run("ingest", lambda: measure(given.seconds, events, start, given.months))


if __name__ == "__main__":
    sys.exit(main())
