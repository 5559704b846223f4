"""Inputs of every kind over every route of a real service, to the end.

Counts answers of 5xx, but for the 503 that a call describes, calls that were neither answered nor
ended, and workers that died; and what each worker held after the first thousand inputs and at the
end. What went wrong is printed on stderr.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from select import select
from threading import Thread
from typing import Any

import httpx
import schemathesis

from benchmarks.common import report, servers, worlds
from benchmarks.common.report import BenchmarkError, Row, log
from benchmarks.parts.fuzz_inputs import Input, inputs
from storage.loading.load import load
from storage.postgres.database import connect

SIZE = worlds.Size(users=200, items=500, interactions=4_000)
CLIENTS = 4
FIRST = 1_000
HANG_SECONDS = 10.0
PATIENCE_SECONDS = 0.5
"""After so long a client that has sent a part of a request says that this was all."""
REPORTED = 20
"""Failures that are reported one by one."""
MEGABYTE = 1e6


@dataclass
class Tally:
    """What became of the inputs. ``failed``: those with an answer of 5xx, by route and status."""

    described_503: set[str]
    inputs: int = 0
    statuses: Counter[int | None] = field(default_factory=Counter)
    failed: Counter[tuple[str, int]] = field(default_factory=Counter)
    hung: Counter[str] = field(default_factory=Counter)

    def note(self, sent: Input, status: int | None, hung: bool) -> None:
        self.inputs += 1
        self.statuses[status] += 1
        bad = status is not None and status >= 500
        if bad and not (status == 503 and sent.route in self.described_503):
            assert status is not None
            self.failed[sent.route, status] += 1
        elif hung:
            self.hung[sent.route] += 1
        else:
            return
        if self.failed.total() + self.hung.total() <= REPORTED:
            log.warning(
                "%s: %s; %s, %s %r %r %r", "hung" if hung else status, sent.route, sent.kind,
                sent.method, sent.target[:200], sent.headers[:5], sent.body[:300],
            )  # fmt: skip


def measure(count: int, number: int, workers: int) -> list[Row]:
    """The rows of ``count`` inputs.

    Args:
        number: seeds what is drawn.
    """
    snapshot = worlds.snapshot(SIZE)
    with (
        tempfile.TemporaryDirectory(prefix="feedwright-fuzz-") as name,
        servers.database(Path(name)) as url,
        servers.registry(worlds.VERSION) as registry,
    ):
        with connect(url) as connection:
            load(connection, worlds.log_of(SIZE))
        with servers.feed_server(
            snapshot, worlds.VERSION, workers, url, registry, Path(name) / "feed", worlds.PROFILE
        ) as server:
            return _against(server, count, number)


def _against(server: servers.Server, count: int, number: int) -> list[Row]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=HANG_SECONDS) as http:
        document = http.get("/api/v1/openapi.json").json()
        tally = Tally(
            {
                f"{method.upper()} {path}"
                for path, calls in document["paths"].items()
                for method, call in calls.items()
                if method != "parameters" and "503" in call["responses"]
            }
        )
        port = httpx.URL(server.url).port
        assert port is not None
        before: dict[int, float] = {}
        began = {worker.pid for worker in server.workers()}
        for part in _drawn(document, count, number):
            _send(port, part, tally)
            held = server.held()
            before = before or held
            log.info("%d inputs: %d × 5xx, %d hangs, workers hold %s MB, %s", tally.inputs,
                     tally.failed.total(), tally.hung.total(),
                     [round(used / MEGABYTE) for used in held.values()],
                     dict(tally.statuses.most_common(8)))  # fmt: skip
        if http.get("/api/v1/feed?user_id=u0").status_code != 200:
            raise BenchmarkError("the feed does not answer any more")
        after = server.held()
    for (route, status), times in tally.failed.most_common():
        log.warning("%d × %d: %s", times, status, route)
    return [
        Row("inputs", tally.inputs, "inputs"),
        Row("5xx", tally.failed.total(), "answers"),
        Row("hangs", tally.hung.total(), "inputs"),
        Row("workers that died", len(began - after.keys()), "workers"),
        *(
            Row(f"memory of worker {place}", after[pid] / MEGABYTE, "MB",
                f"after {min(FIRST, count):,} inputs", before[pid] / MEGABYTE)
            for place, pid in enumerate(sorted(before.keys() & after.keys()), 1)
        ),
    ]  # fmt: skip


def _drawn(document: Mapping[str, Any], count: int, number: int) -> Iterator[list[Input]]:
    """The inputs, ``FIRST`` at a time, while those before are sent. In a thread: hypothesis takes
    the exit that a signal asks for, for a failed example."""
    schema = schemathesis.openapi.from_dict(dict(document))
    drawn: Queue[list[Input] | Exception] = Queue(1)

    def draw() -> None:
        try:
            for start in range(0, count, FIRST):
                drawn.put(inputs(schema, min(FIRST, count - start), number + start))
        except Exception as error:  # raised where the inputs are waited for
            drawn.put(error)

    Thread(target=draw, daemon=True).start()
    for _ in range(0, count, FIRST):
        part = drawn.get()
        if isinstance(part, Exception):
            raise part
        yield part


def _send(port: int, part: Sequence[Input], tally: Tally) -> None:
    pool = ThreadPoolExecutor(CLIENTS)
    try:
        for sent, (status, hung) in zip(
            part, pool.map(lambda sent: answered(port, sent), part), strict=True
        ):
            tally.note(sent, status, hung)
    finally:
        pool.shutdown(cancel_futures=True)


def answered(port: int, sent: Input) -> tuple[int | None, bool]:
    """The status of the answer (None: the connection was ended without one), and whether there
    was neither in time."""
    deadline = time.monotonic() + HANG_SECONDS
    head = b""
    try:
        with socket.create_connection((servers.HOST, port), timeout=HANG_SECONDS) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was all sent
                connection.sendall(sent.encoded())
                if not sent.whole and not select([connection], [], [], PATIENCE_SECONDS)[0]:
                    connection.shutdown(socket.SHUT_WR)
            while time.monotonic() < deadline:
                chunk = connection.recv(65_536)
                if not chunk:
                    return _status(head), False
                head = (head + chunk)[:64]
    except TimeoutError:
        return _status(head), True
    except OSError:  # reset: nothing more comes
        return _status(head), False
    return _status(head), True


def _status(head: bytes) -> int | None:
    parts = head.split(b" ", 2)
    return int(parts[1]) if head.startswith(b"HTTP/") and parts[1].isdigit() else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000, help="inputs")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn")
    parser.add_argument("--workers", type=int, default=2, help="workers of the service")
    given = parser.parse_args(arguments)
    return report.run("fuzz", lambda: measure(given.inputs, given.seed, given.workers))


if __name__ == "__main__":
    sys.exit(main())
